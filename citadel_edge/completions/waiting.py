"""Requests wait here while every replica of their model is full, cooling down or cut off by its breaker.

Decides whose turn it is to look for a place, through one fair queue a model. Refuses to know what a place is: a
request brings its own `attempt`, which looks for one and takes it without awaiting, or answers `Busy`.

While somebody waits, those who come queue up behind. How turns are given is `waiting_line`'s. Models that are served
by the same replicas take turns as well: the line that has gone longest without a place looks first.

Times are the event loop's own. All of it belongs to one loop.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

from citadel_edge.budgets.queue import Ticket
from citadel_edge.completions.waiting_line import Busy, Line, Waiter

__all__ = ["MAX_WAITING", "Busy", "CapacityWait", "GaveUp", "Hooks", "Waiter"]

MAX_WAITING: Final = 1024
_MAX_LINES: Final = 1024

Place = TypeVar("Place")


class GaveUp(StrEnum):
    """Why a request waits no longer without having found a place."""

    TIME_OVER = "time_over"
    QUEUE_FULL = "queue_full"


def _nobody_counts(*_: object) -> None:
    """The hook of whoever does not look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Who is told, each with the model first: how many wait now; seconds that one waited; that one gave up, and why."""

    waiting: Callable[[str, int], None] = _nobody_counts
    waited: Callable[[str, float], None] = _nobody_counts
    gave_up: Callable[[str, GaveUp], None] = _nobody_counts


class CapacityWait:
    """The waiting of all models.

    Args:
        max_waiting: how many requests may wait for one model.
        hooks: where it is counted.
    """

    def __init__(self, *, max_waiting: int = MAX_WAITING, hooks: Hooks | None = None) -> None:
        self.max_waiting = max_waiting
        self._hooks = hooks or Hooks()
        self._lines: OrderedDict[str, Line] = OrderedDict()  # who found a place last is last
        self._waiting = 0

    def must_queue(self, model: str) -> bool:
        """Whether somebody waits for this model: then `wait` at once, without an attempt of one's own."""
        line = self._lines.get(model)
        return line is not None and len(line.queue) > 0

    def waiting(self, model: str) -> int:
        """How many wait for this model."""
        line = self._lines.get(model)
        return len(line.queue) if line else 0

    def tell(self) -> None:
        """A place may have come free. To be called after the fact, as often as wanted."""
        if self._waiting:
            for line in tuple(self._lines.values()):
                line.begin_round()

    async def wait(self, waiter: Waiter, attempt: Callable[[], Place | Busy], *, until: float) -> Place | GaveUp:
        """Find a place, at once when nobody waits, else in turn.

        Await it in the task that will use the place: a wrapping task that is cancelled would lose it.

        Args:
            waiter: the request's claim. One that was charged already was not served: its charge is taken back.
            attempt: looks for a place and takes it, in one step. What it raises ends the waiting.
            until: the loop's time at which to give up.

        Returns:
            What the attempt took, or why none was taken.
        """
        self.settle(waiter, 0.0)
        busy = None
        if not self.must_queue(waiter.model):
            found = attempt()
            if not isinstance(found, Busy):
                return found
            busy = found
        if self.waiting(waiter.model) >= self.max_waiting:
            return self._gave_up(waiter.model, GaveUp.QUEUE_FULL)
        return await self._stand(waiter, attempt, busy, until=until)

    def settle(self, waiter: Waiter, tokens: float) -> None:
        """The request is over and cost so many tokens. One that never waited was charged nothing; twice is once."""
        stood_at, waiter.stood_at = waiter.stood_at, None
        line = self._lines.get(waiter.model)
        if stood_at is not None and line is not None:
            line.queue.settle(waiter, tokens - waiter.cost, stood_at=stood_at)

    async def _stand(
        self, waiter: Waiter, attempt: Callable[[], Place | Busy], busy: Busy | None, *, until: float
    ) -> Place | GaveUp:
        loop = asyncio.get_running_loop()
        line = self._line(waiter.model, loop)
        since, ticket = loop.time(), Ticket(1, waiter)
        line.enter(ticket, busy)
        self._count(line, 1)
        timer = loop.call_at(until, line.expire, ticket)
        try:
            while await line.turn(ticket):
                found = line.attempt(attempt)
                if not isinstance(found, Busy):
                    line.take(ticket)
                    self._lines.move_to_end(line.model)
                    return found
                line.refuse(ticket, found)
            return self._gave_up(waiter.model, GaveUp.TIME_OVER)
        finally:
            timer.cancel()
            line.leave(ticket)
            self._count(line, -1)
            self._hooks.waited(waiter.model, loop.time() - since)

    def _line(self, model: str, loop: asyncio.AbstractEventLoop) -> Line:
        line = self._lines.get(model)
        if line is None:
            if len(self._lines) >= _MAX_LINES:  # models that were configured once
                self._lines = OrderedDict((name, line) for name, line in self._lines.items() if len(line.queue))
            line = self._lines[model] = Line(model, loop)
        return line

    def _count(self, line: Line, change: int) -> None:
        self._waiting += change
        self._hooks.waiting(line.model, len(line.queue))

    def _gave_up(self, model: str, why: GaveUp) -> GaveUp:
        self._hooks.gave_up(model, why)
        return why
