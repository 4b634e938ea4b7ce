"""Pauses: a completion that may take long is a generator that yields when its slice of time is used up."""

from asyncio import CancelledError, get_running_loop, sleep
from collections.abc import AsyncIterator, Callable, Generator
from dataclasses import dataclass
from inspect import CORO_CREATED, getcoroutinestate
from types import CoroutineType
from typing import Any, Final

Steps = Generator[None, None, Any]
"""A completion in slices: yields when it is time to pause, returns what it completed."""
EVERY: Final = 16
"""Items of a list between two looks at the clock, a power of two; where resolvers are called every item looks."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a run may keep the loop, in seconds, and the clock that says so."""

    monotonic_s: Callable[[], float]
    slice_s: float = 0.002


class Slices:
    """The slices of one run. `until` is when the present one ends."""

    def __init__(self, pace: Pace) -> None:
        self.now = pace.monotonic_s
        self.slice_s = pace.slice_s
        self.until = self.now() + pace.slice_s
        self.made: list[Any] = []
        """Coroutines that may not have been started yet."""
        self._renewed = False

    def renew(self) -> None:
        """Begin a new slice, once a turn of the loop, however many parts of the run come to life in it."""
        if not self._renewed:
            self._renewed = True
            self.until = self.now() + self.slice_s
            get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._renewed = False

    async def drive(self, steps: Steps, *, paused: bool = False) -> Any:
        """Take a completion to its end, with a pause whenever it asks for one; cancelled, leave nothing unstarted.

        `paused`: it has begun already and just asked.
        """
        made: list[Any] = []
        if paused:
            made, self.made = self.made, made
            await self._pause(steps, made)
        else:
            self.renew()
        try:
            while self._step(steps, made):
                await self._pause(steps, made)
        except StopIteration as end:
            return end.value

    async def _pause(self, steps: Steps, made: list[Any]) -> None:
        try:
            await sleep(0)
        except CancelledError:
            steps.close()
            dispose(made)
            raise
        self.renew()

    def _step(self, steps: Steps, made: list[Any]) -> bool:
        self.made = made
        try:
            next(steps)
        finally:
            self.made = []
        return True


class PacedIterator:
    """An asynchronous iterator that pauses when the slice is used up, though its items come without waiting."""

    def __init__(self, slices: Slices, inner: AsyncIterator[Any]) -> None:
        self._slices = slices
        self._inner = inner
        if hasattr(inner, "aclose"):
            self.aclose = inner.aclose

    def __aiter__(self) -> "PacedIterator":
        return self

    async def __anext__(self) -> Any:
        if self._slices.now() > self._slices.until:
            await sleep(0)
            self._slices.renew()
        return await anext(self._inner)


def exhausted(steps: Steps) -> Any:
    """What a completion comes to when there is nobody to pause for."""
    try:
        while True:
            next(steps)
    except StopIteration as end:
        return end.value


def dispose(made: list[Any]) -> None:
    """Close the coroutines that were never started, so that none is left behind unawaited."""
    for one in reversed(made):
        if isinstance(one, CoroutineType) and getcoroutinestate(one) == CORO_CREATED:
            one.close()
