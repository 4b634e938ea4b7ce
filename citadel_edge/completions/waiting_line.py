"""Those who wait for one model, and whose turn it is.

::

    begin_round() ──▶ the head of the fair queue is called and makes its attempt
                 ├─ a place          it leaves with it, and the next is called: there may be more
                 ├─ Busy(spare=True) a place is free that only this one may not take (it failed there, its prompt does
                 │                   not fit): it is passed over until the next round, and the next is called
                 └─ Busy             there is none for anybody: the round is over, all keep their places

So a place that comes free calls one and finds out with one more attempt that there is none left; nobody else is woken.
Whoever is called and leaves instead, cancelled or broken, calls the next. Attempts are made in the waiter's own task,
one at a time: no turn of the loop lies between looking for a place and taking it, so that no wake-up is lost and no
place taken twice.

Decides turns, and when to look without being told. Refuses to know what a place is, and who counts.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from citadel_edge.budgets.fair_queue import FairQueue, share_of
from citadel_edge.budgets.queue import State, Ticket

_SHORTEST_PAUSE_S: Final = 0.01  # a replica's clock may be a hair behind the loop's; and no answer makes us spin

Place = TypeVar("Place")


@dataclass(frozen=True, slots=True)
class Busy:
    """An attempt that found no place.

    Attributes:
        retry_at: the loop's time at which one is known to come free (a cooldown or a back-off ends), if it is known.
        spare: there is a place that others could take.
    """

    retry_at: float | None = None
    spare: bool = False


@dataclass(slots=True, eq=False)
class Waiter:
    """One request's claim, good for as many waits, one after another, as the request needs.

    Attributes:
        cost: what serving it is expected to cost, in tokens.
        share: its user's weight.
        stood_at: where its user's counter stood when it was charged; None while it is not charged.
        told: what it waits for: its turn, or the end of its time.
        late: its time is over.
    """

    model: str
    user: str
    cost: float
    share: float
    stood_at: float | None = None
    told: asyncio.Future[None] | None = None
    late: bool = False

    @classmethod
    def of(cls, *, model: str, user_id: str, priority: int, cost_tokens: float) -> "Waiter":
        """The claim of a user's request; `priority` is its tier's, 0 to 100."""
        return cls(model, user_id, cost_tokens, share_of(priority))


class Line:
    """One model's row. `_called` is whose turn it is; `_again`: something was told during the round."""

    __slots__ = ("_again", "_called", "_loop", "_timer", "model", "queue")

    def __init__(self, model: str, loop: asyncio.AbstractEventLoop) -> None:
        self.model = model
        self.queue: FairQueue[Waiter] = FairQueue()
        self._loop = loop
        self._called: Ticket[Waiter] | None = None
        self._again = False
        self._timer: asyncio.TimerHandle | None = None

    def begin_round(self) -> None:
        """Call the first; while a round runs, another follows it for those whom it passed over."""
        if self._called is not None:
            self._again = True
            return
        self.queue.bring_back()
        self._call_next()

    def enter(self, ticket: Ticket[Waiter], busy: Busy | None) -> None:
        """Begin to wait, after an attempt when nobody waited. Where all others are passed over, it is its turn."""
        waiter, alone = ticket.held, self.queue.head() is None
        waiter.told, waiter.late = self._loop.create_future(), False
        self.queue.push(ticket)
        if busy is not None:
            self._put_off(ticket, busy)
        elif alone and self._called is None:
            self._call_next()

    async def turn(self, ticket: Ticket[Waiter]) -> bool:
        """Wait to be called; False when time is over."""
        if ticket.held.told is not None:
            await ticket.held.told
        return self._called is ticket

    def attempt(self, attempt: Callable[[], Place | Busy]) -> Place | Busy:
        """Make the called one's attempt. Whatever is told during it, it has seen."""
        again = self._again
        try:
            return attempt()
        finally:
            self._again = again

    def take(self, ticket: Ticket[Waiter]) -> None:
        """The called one has its place, and pays."""
        ticket.held.stood_at = self.queue.take(ticket)
        ticket.state = State.SEATED
        self._call_next()

    def refuse(self, ticket: Ticket[Waiter], busy: Busy) -> None:
        """The called one found none and waits on, unless its time is over."""
        waiter = ticket.held
        waiter.told = self._loop.create_future()
        if waiter.late:
            waiter.told.set_result(None)
        self._put_off(ticket, busy)
        if busy.spare:
            self._call_next()
        else:
            self._called, self._again = None, False

    def expire(self, ticket: Ticket[Waiter]) -> None:
        """Its time is over. One who is called just now makes a last attempt."""
        waiter = ticket.held
        waiter.late = True
        if waiter.told is not None and not waiter.told.done():
            waiter.told.set_result(None)

    def leave(self, ticket: Ticket[Waiter]) -> None:
        """Wait no longer, for whatever reason; the turn passes on."""
        self._drop(ticket)
        if self._called is ticket:
            self._call_next()
        if self._timer is not None and not self.queue:
            self._timer.cancel()
            self._timer = None

    def _drop(self, ticket: Ticket[Waiter]) -> None:
        if ticket.state is State.WAITING:
            ticket.state = State.GONE
            self.queue.remove(ticket)

    def _call_next(self) -> None:
        self._called = None
        while (head := self._next()) is not None:
            told = head.held.told
            if told is not None and not told.done():
                self._called = head
                told.set_result(None)
                return
            self._drop(head)  # cancelled or out of time in this very turn of the loop, its task has not run yet

    def _next(self) -> Ticket[Waiter] | None:
        head = self.queue.head()
        if head is None and self._again:
            self.queue.bring_back()
            head = self.queue.head()
        if head is None or not self.queue.aside:
            self._again = False
        return head

    def _put_off(self, ticket: Ticket[Waiter], busy: Busy) -> None:
        if busy.spare:
            self.queue.set_aside(ticket)
        if busy.retry_at is not None:
            self._look_again_at(busy.retry_at)

    def _look_again_at(self, when: float) -> None:
        """Begin a round then, if none is due before. Who is called at the time answers when to look next."""
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(max(when, self._loop.time() + _SHORTEST_PAUSE_S), self._due)

    def _due(self) -> None:
        self._timer = None
        self.begin_round()
