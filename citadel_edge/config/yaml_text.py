"""YAML text to plain data: mappings, lists, text, numbers, true, false and null. Pure.

Decides which YAML is understood: version 1.2's core schema (`no` is text and `0800` is eight hundred, which PyYAML
reads otherwise), no tags, no key twice, bounded depth and bounded size after aliases are followed. `${…}` may stand
anywhere in a value, also inside `{…}` where YAML would stumble over its braces: it is taken out before and answered as
a `Template`. Refuses to know what the data means.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from citadel_edge.config.flaw import Flaw
from citadel_edge.config.paths import Step, written
from citadel_edge.config.references import Cut, cut, restored, template

try:
    from yaml import CSafeLoader as Loader
except ImportError:  # a PyYAML without libyaml
    from yaml import SafeLoader as Loader  # type: ignore[assignment]

MAX_DEPTH = 40
MAX_NODES = 50_000
_INT = re.compile(r"[-+]?[0-9]{1,40}|0o[0-7]{1,40}|0x[0-9a-fA-F]{1,40}")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,9})?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_NULLS = ("", "~", "null", "Null", "NULL")
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_TOO_DEEP = f"nested more than {MAX_DEPTH} deep; flatten it"
_MERGE = "<<"
_STR_TAG = "tag:yaml.org,2002:str"


class _Nothing:
    """The absence of a value, where null is one."""


_NOTHING: Final = _Nothing()


class _StopError(Exception):
    """The text cannot be read any further."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.flaw = Flaw(message, line=line)


@dataclass(frozen=True, slots=True)
class Parsed:
    """The data, with `Template`s where references stand, and what is wrong. `whole` is false where nothing was read."""

    data: dict[str, Any]
    flaws: tuple[Flaw, ...] = ()
    whole: bool = True


@dataclass(frozen=True, slots=True)
class _Built:
    """A finished value."""

    value: Any
    size: int = 1
    depth: int = 0


@dataclass(slots=True)
class _Open:
    """A mapping or list whose end has not come yet. `size` and `depth` are those of the tree with aliases followed."""

    value: dict[str, Any] | list[Any]
    anchor: str | None
    size: int = 1
    depth: int = 1
    key: str | _Nothing | None = _NOTHING
    lines: dict[str, int] = field(default_factory=dict)
    merged: list[dict[str, Any]] = field(default_factory=list)

    @property
    def step(self) -> Step:
        """Where the next value goes."""
        return len(self.value) if isinstance(self.value, list) else str(self.key)


def parse(text: str) -> Parsed:
    """Read one document whose root is a mapping. An empty text is an empty mapping. Never raises."""
    try:
        references = cut(text)
    except ValueError as error:
        return Parsed({}, (Flaw(str(error)),), whole=False)
    builder = _Builder(references)
    try:
        for event in yaml.parse(references.text, Loader=Loader):
            builder.take(event)
    except _StopError as stop:
        return Parsed({}, (stop.flaw,), whole=False)
    except yaml.YAMLError as error:
        return Parsed({}, (_syntax(error, references),), whole=False)
    return builder.result()


def _syntax(error: yaml.YAMLError, references: Cut) -> Flaw:
    """PyYAML's complaint as ours. It never quotes values."""
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or getattr(error, "reason", None) or "unreadable"
    what = restored(str(what), references.references)
    line = mark.line + 1 if mark is not None else None
    return Flaw(f"not YAML: {what}; look at indentation, colons and quotes", line=line)


class _Builder:
    """Builds data from parser events with a stack of its own, so that no depth of nesting can exhaust Python's."""

    def __init__(self, references: Cut) -> None:
        self._references = references.references
        self._stack: list[_Open] = []
        self._anchors: dict[str, _Built] = {}
        self._flaws: list[Flaw] = []
        self._root: Any = _NOTHING

    def take(self, event: yaml.Event) -> None:
        """Take the parser's next event."""
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.ScalarEvent):
            self._put(_Built(self._scalar(event, line)), line, anchor=event.anchor)
        elif isinstance(event, yaml.AliasEvent):
            self._put(self._anchored(event.anchor, line), line)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._open(event, line)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._close(line)
        elif isinstance(event, yaml.DocumentStartEvent) and self._root is not _NOTHING:
            raise _StopError(line, "a second document starts here; keep one")

    def result(self) -> Parsed:
        """What was built."""
        root = None if self._root is _NOTHING else self._root
        if root is None or isinstance(root, dict):
            return Parsed(root or {}, tuple(self._flaws))
        return Parsed({}, (Flaw(f"expected a mapping of settings at the top, got {kind(root)}"),), whole=False)

    def _anchored(self, name: str | None, line: int) -> _Built:
        if name is None or name not in self._anchors:
            raise _StopError(line, f"the alias *{name} names nothing that ends before it; define &{name} first")
        return self._anchors[name]

    def _open(self, event: yaml.CollectionStartEvent, line: int) -> None:
        if event.tag is not None:
            self._tagged(line)
        if len(self._stack) >= MAX_DEPTH:
            raise _StopError(line, _TOO_DEEP)
        self._stack.append(_Open({} if isinstance(event, yaml.MappingStartEvent) else [], event.anchor))

    def _close(self, line: int) -> None:
        closed = self._stack.pop()
        if isinstance(closed.value, dict):
            for source in closed.merged:
                closed.value = {**source, **closed.value}
        self._put(_Built(closed.value, closed.size, closed.depth), line, anchor=closed.anchor)

    def _put(self, built: _Built, line: int, *, anchor: str | None = None) -> None:
        if anchor is not None:
            self._anchors[anchor] = built
        if not self._stack:
            self._root = built.value
            return
        parent = self._stack[-1]
        self._grow(parent, built, line)
        if isinstance(parent.value, list):
            parent.value.append(built.value)
        elif isinstance(parent.key, _Nothing):
            parent.key = self._key(parent, built.value, line)
        else:
            self._put_under_key(parent, built.value, line)

    def _grow(self, parent: _Open, built: _Built, line: int) -> None:
        """Count what came in. Depth is checked here too: aliases can nest what no text nests."""
        parent.size += built.size
        parent.depth = max(parent.depth, built.depth + 1)
        if parent.size > MAX_NODES:
            raise _StopError(line, f"more than {MAX_NODES} values, aliases followed; make it smaller")
        if parent.depth > MAX_DEPTH:
            raise _StopError(line, _TOO_DEEP)

    def _put_under_key(self, parent: _Open, value: Any, line: int) -> None:
        key, parent.key = parent.key, _NOTHING
        assert isinstance(parent.value, dict)  # noqa: S101 - lists are handled by the caller
        if key == _MERGE:
            self._merge(parent, value, line)
        elif isinstance(key, str):
            parent.value.setdefault(key, value)

    def _key(self, parent: _Open, value: Any, line: int) -> str | None:
        """The key, or None where it cannot be one: its value is passed over."""
        if not isinstance(value, str):
            message = f"{kind(value)} cannot be a key; write a name, or put it in quotes"
            self._flaws.append(Flaw(message, line=line))
            return None
        if value in parent.lines and value != _MERGE:
            first = parent.lines[value]
            where = f"lines {first} and {line}" if line != first else f"line {line}"
            self._flaws.append(Flaw(f"given twice, in {where}; keep one", path=self._here(value)))
        parent.lines.setdefault(value, line)
        return value

    def _merge(self, parent: _Open, value: Any, line: int) -> None:
        sources = value if isinstance(value, list) else [value]
        if not all(isinstance(source, dict) for source in sources):
            raise _StopError(line, "expected a mapping after '<<', as in '<<: *defaults'")
        parent.merged.extend(sources)

    def _here(self, *further: Step) -> str:
        return written((*(opened.step for opened in self._stack[:-1]), *further))

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> Any:
        if event.tag not in (None, "!", _STR_TAG):
            self._tagged(line)
        found = template(event.value, self._references)
        if found is not None:
            return found
        plain = event.tag is None and event.implicit[0]
        return resolved(event.value) if plain else event.value

    def _tagged(self, line: int) -> None:
        raise _StopError(line, "tags like !this are not understood; remove it")


def resolved(text: str) -> str | int | float | bool | None:
    """A plain scalar by YAML 1.2's core schema."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INT.fullmatch(text):
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    return float(text.replace(".inf", "inf").replace(".nan", "nan")) if _FLOAT.fullmatch(text.lower()) else text


def kind(value: Any) -> str:
    """What a value is, in words, without showing it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, list) else "text"
