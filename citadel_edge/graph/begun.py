"""The coroutines of one execution: those that never began are closed in the end, instead of being warned about.

A task that is cancelled before its first step drops what it was to await. An executor asks of every value whether it
is awaitable, so the question is where all of them are seen.
"""

from collections.abc import Awaitable, Coroutine
from inspect import CORO_CREATED, getcoroutinestate
from types import CoroutineType
from typing import Any, Final, TypeGuard

from graphql.pyutils import is_awaitable

PRUNE_AT: Final = 256


class Begun:
    """Answers whether a value is awaitable, and remembers the coroutines."""

    __slots__ = ("_prune_at", "_seen")

    def __init__(self) -> None:
        self._seen: list[Coroutine[Any, Any, Any]] = []
        self._prune_at = PRUNE_AT

    def __call__(self, value: Any) -> TypeGuard[Awaitable[Any]]:
        """Whether it is awaitable."""
        if not isinstance(value, CoroutineType):
            return is_awaitable(value)
        self._seen.append(value)
        if len(self._seen) > self._prune_at:
            self._seen = self._unbegun()
            self._prune_at = 2 * len(self._seen) + PRUNE_AT
        return True

    def dispose(self) -> None:
        """Close what never began. Nothing may be about to begin it."""
        for coroutine in reversed(self._unbegun()):
            coroutine.close()
        self._seen = []

    def _unbegun(self) -> list[Coroutine[Any, Any, Any]]:
        return [each for each in self._seen if getcoroutinestate(each) == CORO_CREATED]
