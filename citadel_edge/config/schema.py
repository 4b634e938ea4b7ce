"""Questions about the shape, answered from its types: what may stand where. Pure."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import SecretStr

from citadel_edge.config.paths import Steps
from citadel_edge.config.shape import Config


def known_keys(steps: Steps) -> tuple[str, ...]:
    """The keys that may stand in the mapping at a place; none where it is free or no mapping."""
    found = _inner(_type_at(steps))
    return tuple(field.name for field in fields(found)) if is_dataclass(found) else ()


def is_secret(steps: Steps) -> bool:
    """Whether the value at a place must never be shown."""
    return _inner(_type_at(steps)) is SecretStr


def suggestion(wrong: str, known: tuple[str, ...]) -> str:
    """The end of a sentence about a wrong name: the nearest right one, or all of them."""
    near = get_close_matches(wrong, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean '{near[0]}'?"
    return f"known are {', '.join(sorted(known))}" if known else "remove it"


def without_empty_sections(data: Mapping[str, Any]) -> dict[str, Any]:
    """The data without sections and lists that are null, as they are when all their keys are commented out."""
    pruned: dict[str, Any] = _pruned(data, ())
    return pruned


def _pruned(value: Any, steps: Steps) -> Any:
    if isinstance(value, Mapping):
        below = {key: _pruned(item, (*steps, key)) for key, item in value.items()}
        return {key: item for key, item in below.items() if item is not None or not _is_section((*steps, key))}
    if isinstance(value, list):
        return [_pruned(item, (*steps, index)) for index, item in enumerate(value)]
    return value


def _is_section(steps: Steps) -> bool:
    found = _bare(_type_at(steps))
    return is_dataclass(found) or get_origin(found) in (tuple, dict)


def _type_at(steps: Steps) -> Any:
    found: Any = Config
    for step in steps:
        found = _below(_inner(found), step)
    return found


def _below(found: Any, step: str | int) -> Any:
    if is_dataclass(found) and isinstance(found, type):
        return _hints(found).get(str(step))
    arguments = get_args(found)
    if get_origin(found) is dict:
        return arguments[1]
    return arguments[0] if get_origin(found) is tuple and isinstance(step, int) else None


def _inner(found: Any) -> Any:
    """A type without its annotations and without `None` beside it."""
    bare = _bare(found)
    if get_origin(bare) in (Union, UnionType):
        return _bare(next(option for option in get_args(bare) if option is not NoneType))
    return bare


def _bare(found: Any) -> Any:
    return get_args(found)[0] if get_origin(found) is Annotated else found


@cache
def _hints(found: type) -> dict[str, Any]:
    return get_type_hints(found, include_extras=True)
