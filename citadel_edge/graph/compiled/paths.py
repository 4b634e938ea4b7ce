"""Where in an answer something stands, written down as cheaply as can be.

A trail is a plain tuple `(trail before, key, name of the parent type)`: graphql-core's `Path` without its class, at a
fifth of the price. It becomes a `Path` when somebody looks: a resolver, or an error.
"""

from typing import Any

from graphql.pyutils import Path

Trail = tuple[Any, str | int, str | None]
"""A field's or an item's place; None stands for the root."""


def as_path(trail: Trail) -> Path:
    """The trail as graphql-core writes it."""
    if type(trail) is Path:
        return trail
    before = trail[0]
    if before is not None and type(before) is not Path:
        trail = (as_path(before), trail[1], trail[2])
    return tuple.__new__(Path, trail)


def within(trail: Trail | None, index: int | None) -> Trail | None:
    """The place of the item `index` of the list at `trail`; `trail` itself for what stands in no list."""
    return trail if index is None else (trail, index, None)


def field_path(trail: Trail) -> Path:
    """The place of the field whose value, or item of a value, stands at `trail`."""
    while type(trail[1]) is int:
        trail = trail[0]
    return as_path(trail)
