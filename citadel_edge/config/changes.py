"""What differs between two configurations, and what of it may change while the process runs. Pure.

Decides which settings a reload applies. Refuses to know how: those who use a setting watch it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from pydantic import SecretStr

from citadel_edge.config.documents import ITEM_KEYS
from citadel_edge.config.shape import Config, ListenerConfig

# Everything else is bound, opened or started once: sockets, pools, children, the data directory.
LIVE_SECTIONS = ("upstreams", "models", "routing", "tiers", "streams", "http", "logs", "process")
SEEDS = "tiers"
LIVE_LISTENER_SETTINGS = ("budget",)


@dataclass(frozen=True, slots=True)
class Changes:
    """The paths of changed settings, in the order of the shape. Never their values.

    Attributes:
        applied: take effect at once.
        needs_restart: keep their old value until the process starts anew.
        seeds: of `tiers`. A new one is put into the database if none of its name is there; nothing else has an effect,
            not even at a restart: a tier that is there belongs to the operators.
    """

    applied: tuple[str, ...]
    needs_restart: tuple[str, ...]
    seeds: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything changed."""
        return bool(self.applied or self.needs_restart or self.seeds)


def compare(old: Config, new: Config) -> Changes:
    """Name every changed setting by its path (`routing.retries`, `upstreams[gpu-a].slots`)."""
    changed = list(_changed(old, new, ""))
    seeds = tuple(path for path in changed if _section(path) == SEEDS)
    applied = tuple(path for path in changed if _is_live(path) and path not in seeds)
    waiting = tuple(path for path in changed if not _is_live(path))
    if bool(old.upstreams) != bool(new.upstreams):
        # The embedded model comes or goes with them.
        applied = tuple(path for path in applied if not _is_fleet(path))
        waiting = (*waiting, "upstreams", "models")
    return Changes(applied, waiting, seeds)


def applicable(old: Config, new: Config) -> Config:
    """The new configuration with the old values where a restart is needed: what is true after a reload."""
    live = {section: getattr(new, section) for section in LIVE_SECTIONS}
    if bool(old.upstreams) != bool(new.upstreams):
        live |= {"upstreams": old.upstreams, "models": old.models}
    listeners = {name: _listener(listener, new.listeners[name]) for name, listener in old.listeners.items()}
    return replace(old, listeners=listeners, **live)


def _listener(old: ListenerConfig, new: ListenerConfig) -> ListenerConfig:
    return replace(old, **{setting: getattr(new, setting) for setting in LIVE_LISTENER_SETTINGS})


def _is_live(path: str) -> bool:
    section, _, rest = path.partition(".")
    if section == "listeners":
        return rest.partition(".")[2].partition(".")[0] in LIVE_LISTENER_SETTINGS
    return _section(path) in LIVE_SECTIONS


def _section(path: str) -> str:
    return path.partition(".")[0].partition("[")[0]


def _is_fleet(path: str) -> bool:
    return _section(path) in ("upstreams", "models")


def _changed(old: Any, new: Any, path: str) -> Iterator[str]:
    if is_dataclass(old) and type(old) is type(new):
        for field in fields(old):
            below = f"{path}.{field.name}".removeprefix(".")
            yield from _changed(getattr(old, field.name), getattr(new, field.name), below)
    elif path in ITEM_KEYS:
        yield from _changed_keys(_by_name(old, ITEM_KEYS[path]), _by_name(new, ITEM_KEYS[path]), path, "[{}]")
    elif isinstance(old, Mapping) and isinstance(new, Mapping):
        yield from _changed_keys(old, new, path, ".{}")
    elif _plain(old) != _plain(new):
        yield path


def _changed_keys(old: Mapping[Any, Any], new: Mapping[Any, Any], path: str, form: str) -> Iterator[str]:
    for key in dict.fromkeys((*old, *new)):
        below = path + form.format(key)
        if key in old and key in new:
            yield from _changed(old[key], new[key], below)
        else:
            yield below


def _by_name(items: Iterable[Any], key: str) -> dict[str, Any]:
    return {getattr(item, key): item for item in items}


def _plain(value: Any) -> Any:
    return value.get_secret_value() if isinstance(value, SecretStr) else value
