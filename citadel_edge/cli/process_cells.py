"""Answers of the running process as cells of a table. Pure."""

from collections.abc import Mapping
from typing import Any

from citadel_edge.cli.console import Cell, Tone

LISTENER_HEAD = ("LISTENER", "STATE", "HEALTH", "TASKS", "QUEUED", "URL", "MESSAGE")
CHECK_HEAD = ("CHECK", "STATE", "DETAIL")
_TONES = {
    "running": Tone.GOOD,
    "healthy": Tone.GOOD,
    "up": Tone.GOOD,
    "degraded": Tone.ODD,
    "partial": Tone.ODD,
    "draining": Tone.ODD,
    "unhealthy": Tone.BAD,
    "down": Tone.BAD,
    "stopped": Tone.BAD,
    "absent": Tone.QUIET,
    "unknown": Tone.QUIET,
}


def listener_row(listener: Mapping[str, Any]) -> list[Cell]:
    """One listener, as `listener.status` answers it."""
    return [
        Cell(_text(listener.get("name"))),
        _state(listener.get("state")),
        _state(listener.get("status")),
        Cell(_text(listener.get("tasks"))),
        Cell(_text(listener.get("queued"))),
        Cell(_text(listener.get("url"))),
        Cell(_text(listener.get("message"))),
    ]


def check_row(name: str, check: Mapping[str, Any]) -> list[Cell]:
    """One dependency, as `status` answers it."""
    return [Cell(name), _state(check.get("status")), Cell(_text(check.get("detail")))]


def _state(value: Any) -> Cell:
    return Cell(_text(value), _TONES.get(str(value), Tone.PLAIN))


def _text(value: Any) -> str:
    return "" if value is None else str(value)
