"""The names in a configuration and how they refer to each other, read also from data that has mistakes. Pure.

Decides what counts as a name, so that `consistency` can check across fields in the same go in which the types are
checked. What has the wrong type is left out here: the types say so.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from citadel_edge.config.fields import whole
from citadel_edge.config.paths import Steps
from citadel_edge.config.shape import LOOPBACK


@dataclass(frozen=True, slots=True)
class Named:
    """A name, and where it stands."""

    steps: Steps
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """A listener's address and files."""

    name: str
    steps: Steps
    host: str
    port: int | None
    files: tuple[Named, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOutline:
    """A model's names and whom it refers to."""

    name: str | None
    steps: Steps
    aliases: tuple[Named, ...]
    deployments: tuple[Named, ...]
    fallbacks: tuple[Named, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """All names. `has_upstreams` and `has_models` also count items that have no name."""

    doors: tuple[Door, ...]
    upstreams: tuple[Named, ...]
    models: tuple[ModelOutline, ...]
    tiers: tuple[Named, ...]
    has_upstreams: bool
    has_models: bool


def outline(data: Mapping[str, Any]) -> Outline:
    """Read the names out of merged data."""
    return Outline(
        doors=tuple(_doors(data)),
        upstreams=_named_items(data, "upstreams", "id"),
        models=tuple(_models(data)),
        tiers=_named_items(data, "tiers", "name"),
        has_upstreams=bool(data.get("upstreams")),
        has_models=bool(data.get("models")),
    )


def _doors(data: Mapping[str, Any]) -> Iterator[Door]:
    for name, listener in _mapping(data.get("listeners")).items():
        steps = ("listeners", name)
        settings = _mapping(listener)
        tls = _mapping(settings.get("tls"))
        yield Door(
            name=name,
            steps=steps,
            host=_text(settings.get("host")) or _text(data.get("server_ip")) or LOOPBACK,
            port=_port(settings.get("port")),
            files=tuple(Named((*steps, "tls", key), path) for key in ("cert", "key") if (path := _text(tls.get(key)))),
        )


def _models(data: Mapping[str, Any]) -> Iterator[ModelOutline]:
    for index, model in _items(data, "models"):
        steps = ("models", index)
        yield ModelOutline(
            name=_text(model.get("name")),
            steps=steps,
            aliases=_names(model, "aliases", steps),
            fallbacks=_names(model, "fallbacks", steps),
            deployments=tuple(
                Named((*steps, "deployments", at, "upstream"), name)
                for at, deployment in _items(model, "deployments")
                if (name := _text(deployment.get("upstream")))
            ),
        )


def _named_items(data: Mapping[str, Any], section: str, key: str) -> tuple[Named, ...]:
    return tuple(
        Named((section, index, key), name) for index, item in _items(data, section) if (name := _text(item.get(key)))
    )


def _names(data: Mapping[str, Any], key: str, steps: Steps) -> tuple[Named, ...]:
    found = data.get(key)
    items = found if isinstance(found, list) else []
    return tuple(Named((*steps, key, index), name) for index, item in enumerate(items) if (name := _text(item)))


def _items(data: Mapping[str, Any], key: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    found = data.get(key)
    for index, item in enumerate(found if isinstance(found, list) else []):
        yield index, _mapping(item)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str | None:
    return str(value) if isinstance(value, str) and value else None


def _port(value: Any) -> int | None:
    try:
        return whole(value)
    except ValueError:
        return None
