"""What every compiled function calls, whatever it completes."""

from collections.abc import Mapping
from types import CoroutineType, GeneratorType
from typing import Any

from graphql import GraphQLResolveInfo
from graphql.pyutils import Path

from citadel_edge.graph.compiled.run import Run
from citadel_edge.graph.compiled.sources import VALUES

Waiting = list[tuple[str, Any]]
"""Keys of an object's fields that must be awaited, with what is awaited for them."""


def common_names() -> dict[str, Any]:
    """A fresh namespace for a compiled function."""
    return {
        "Coroutine": CoroutineType,
        "Info": GraphQLResolveInfo,
        "Path": Path,
        "Steps": GeneratorType,
        "VALUES": VALUES,
        "abandon": _abandon,
        "gathered": _gathered,
        "look": _look,
        "new": tuple.__new__,
        "wait": _wait,
    }


def _look(source: Any, name: str) -> Any:
    """How the default resolver reads a field of any source."""
    return source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)


def _wait(waiting: Waiting | None, key: str, value: Any) -> Waiting:
    return [*(waiting or ()), (key, value)]


def _gathered(run: Run, answer: dict[str, Any], waiting: Waiting) -> Any:
    return run.gathered(answer, [key for key, _ in waiting])


def _abandon(run: Run, waiting: Waiting | None) -> None:
    """An object's field failed it: what other fields left to be awaited is settled in the background."""
    if waiting:
        run.settle_in_background([value for _, value in waiting])
