"""The sources of a configuration, from the weakest to the strongest, and merging them. Pure.

Decides what wins: a later document over an earlier one, mappings key by key, the items of `upstreams` by `id`, those
of `models` and `tiers` by `name`, anything else as a whole. Every value remembers where it came from, so that a
mistake can be shown in its own file and by its own place there. Refuses to know what values mean.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from citadel_edge.config.flaw import Flaw
from citadel_edge.config.paths import Steps, written
from citadel_edge.config.references import Template
from citadel_edge.errors import Problem

ITEM_KEYS: Mapping[str, str] = {"upstreams": "id", "models": "name", "tiers": "name"}


class Origin(Enum):
    """The kinds of sources."""

    DEFAULTS = auto()
    FILE = auto()
    DROP_IN = auto()
    ENVIRONMENT = auto()
    FLAG = auto()


@dataclass(frozen=True, slots=True)
class Source:
    """One source. `label`: the file as the operator knows it, the variable, or the flag."""

    origin: Origin
    label: str

    def path(self, steps: Steps) -> str:
        """A place in this source, as an error names it."""
        where = written(steps)
        if self.origin is Origin.DROP_IN:
            return f"{self.label}: {where}" if where else self.label
        if self.origin in (Origin.ENVIRONMENT, Origin.FLAG):
            return f"{where} ({self.label})"
        return where or self.label

    def problem(self, flaw: Flaw) -> Problem:
        """A mistake in this source's text."""
        if flaw.line is not None:
            return Problem(f"{self.label}:{flaw.line}", flaw.message)
        if self.origin is Origin.FILE and flaw.path:
            return Problem(flaw.path, flaw.message)
        return Problem(f"{self.label}: {flaw.path}" if flaw.path else self.label, flaw.message)


@dataclass(frozen=True, slots=True)
class Document:
    """One source's data, references filled in."""

    source: Source
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value was written."""

    source: Source
    steps: Steps

    def __str__(self) -> str:
        return self.source.path(self.steps)


@dataclass(frozen=True, slots=True)
class Merged:
    """All documents as one, and where each value of it was written."""

    data: dict[str, Any]
    places: Mapping[Steps, Place]

    def place(self, steps: Steps) -> Place | None:
        """Where a value, or the nearest thing around it, was written."""
        for length in range(len(steps), 0, -1):
            found = self.places.get(steps[:length])
            if found is not None:
                return Place(found.source, (*found.steps, *steps[length:]))
        return None

    def problem(self, steps: Steps, message: str) -> Problem:
        """A mistake at a value, named by the place in which it was written."""
        return Problem(str(self.place(steps) or written(steps)), message)


@dataclass(slots=True)
class Filled:
    """Data with its references filled in; `failed` are the places where that was not possible (null stands there)."""

    data: Any
    problems: list[Problem] = field(default_factory=list)
    failed: list[Steps] = field(default_factory=list)


def fill(data: Any, variables: Mapping[str, str], *, source: Source) -> Filled:
    """Fill in `${…}` everywhere."""
    filled = Filled(None)

    def walk(value: Any, steps: Steps) -> Any:
        if isinstance(value, Mapping):
            return {key: walk(item, (*steps, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [walk(item, (*steps, index)) for index, item in enumerate(value)]
        return _filled(value, variables, _complain(filled, source, steps)) if isinstance(value, Template) else value

    filled.data = walk(data, ())
    return filled


def merge(documents: list[Document]) -> Merged:
    """Lay the documents over each other in their order."""
    merged = Merged({}, {})
    places: dict[Steps, Place] = {}
    for document in documents:
        layer = _Layer(places, document.source)
        for key, value in document.data.items():
            merged.data[key] = layer.over(merged.data.get(key), value, (key,), (key,))
    return Merged(merged.data, places)


def _filled(template: Template, variables: Mapping[str, str], complain: Callable[[str], None]) -> str | None:
    try:
        return template.fill(variables)
    except ValueError as error:
        complain(str(error))
        return None


def _complain(filled: Filled, source: Source, steps: Steps) -> Callable[[str], None]:
    def complain(message: str) -> None:
        filled.problems.append(Problem(source.path(steps), message))
        filled.failed.append(steps)

    return complain


@dataclass(frozen=True, slots=True)
class _Layer:
    """One document on its way over what is there. `steps` lead to a value in the whole, `own` in the document."""

    places: dict[Steps, Place]
    source: Source

    def over(self, base: Any, value: Any, steps: Steps, own: Steps) -> Any:
        if isinstance(value, Mapping):
            return self._mapping(base if isinstance(base, Mapping) else {}, value, steps, own)
        if isinstance(value, list):
            return self._list(base, value, steps, own)
        self.places[steps] = Place(self.source, own)
        return value

    def _mapping(self, base: Mapping[str, Any], value: Mapping[str, Any], steps: Steps, own: Steps) -> dict[str, Any]:
        if self.source.origin is not Origin.DEFAULTS:
            self.places.setdefault(steps, Place(self.source, own))
        merged = dict(base)
        for key, item in value.items():
            merged[key] = self.over(base.get(key), item, (*steps, key), (*own, key))
        return merged

    def _list(self, base: Any, value: list[Any], steps: Steps, own: Steps) -> list[Any]:
        key = ITEM_KEYS.get(str(steps[0])) if len(steps) == 1 else None
        merged = list(base) if key is not None and isinstance(base, list) else []
        if not merged:
            self.places[steps] = Place(self.source, own)
        positions = _positions(merged, key)
        for index, item in enumerate(value):
            # Each item of before is met once: a name that stands twice in one document stays twice, and is reported.
            at = positions.pop(_name(item, key), len(merged))
            merged[at : at + 1] = [
                self.over(merged[at] if at < len(merged) else None, item, (*steps, at), (*own, index))
            ]
        return merged


def _positions(items: list[Any], key: str | None) -> dict[str | None, int]:
    names = {_name(item, key): index for index, item in reversed(list(enumerate(items)))}
    names.pop(None, None)
    return names


def _name(item: Any, key: str | None) -> str | None:
    name = item.get(key) if key is not None and isinstance(item, Mapping) else None
    return str(name) if isinstance(name, str) else None
