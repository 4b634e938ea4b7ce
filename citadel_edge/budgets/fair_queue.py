"""Whose request is next, when many users wait for the same thing. Weighted fair queueing on what requests cost.

The virtual token counter of "Fairness in Serving Large Language Models" (VTC, arXiv 2401.00588): each user has a
counter of what it was served, in tokens per share; the request served next is the oldest one of the user whose counter
is lowest, and among equals the one that waits longest. A user that begins to wait is lifted to the lowest counter of
those who wait already (to that of the last one who left, when nobody does), so that idleness saves nothing, and a light
user passes a heavy one's row. Served means charged: `take` charges what a request is expected to cost, `settle`
corrects it once the truth is known.

What follows, and is tested: between two users that both wait all the time, the served tokens per share differ by no
more than one largest request of either; a light user's request waits for no more than one request of each other user
beyond those in service.

Decides the order and the charges. Refuses to know what is waited for, what time it is, and who is told: it answers
`queue.Order`'s four questions over tickets whose `held` says who pays, and three more. Finding the next, adding and
removing at any place cost O(log users).

Memory is bounded by those who wait and `max_debts`: a user that does not wait is remembered only while its counter
leads the lowest one, and of too many such users the smallest leads are forgiven.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Final, Generic, Protocol, TypeVar

from citadel_edge.budgets.queue import Ticket

MAX_DEBTS: Final = 4096
_SLACK: Final = 64


def share_of(priority: int) -> float:
    """A tier's weight: 1 for priority 0 up to 101 for priority 100, so that nobody's is nothing."""
    return 1.0 + priority


class Payer(Protocol):
    """Who pays for a ticket, with which weight (positive, from `share_of`), and how much it is expected to cost."""

    @property
    def user(self) -> str:
        """Whose counter is charged."""

    @property
    def share(self) -> float:
        """Its weight."""

    @property
    def cost(self) -> float:
        """What serving it is expected to cost, in tokens; not negative."""


P = TypeVar("P", bound=Payer)
_Entry = tuple[int, Ticket[P]]


@dataclass(slots=True, eq=False)
class _User(Generic[P]):
    """One user. `base` is where it was lifted to last: its true counter cannot be lower."""

    counter: float
    base: float
    waiting: OrderedDict[int, _Entry[P]] = field(default_factory=OrderedDict)
    aside: OrderedDict[int, _Entry[P]] = field(default_factory=OrderedDict)


class FairQueue(Generic[P]):
    """An `Order` that is fair over users."""

    def __init__(self, *, max_debts: int = MAX_DEBTS) -> None:
        self._max_debts = max_debts
        self._users: dict[str, _User[P]] = {}
        self._active = _Ranks()
        self._debtors = _Ranks()
        self._aside: OrderedDict[int, Ticket[P]] = OrderedDict()
        self._floor = 0.0
        self._pushed = 0
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def users(self) -> int:
        """How many users are remembered."""
        return len(self._users)

    @property
    def aside(self) -> int:
        """How many of the waiting are set aside."""
        return len(self._aside)

    def push(self, ticket: Ticket[P]) -> None:
        """A ticket begins to wait, behind its user's others."""
        name = ticket.held.user
        user = self._users.get(name)
        if user is None:
            user = self._users[name] = _User(-math.inf, -math.inf)
        if not (user.waiting or user.aside):
            self._debtors.drop(name)
            self._lift(user)
        self._pushed += 1
        self._size += 1
        user.waiting[id(ticket)] = (self._pushed, ticket)
        if len(user.waiting) == 1:
            self._rank(name, user)
            self._forget()

    def head(self) -> Ticket[P] | None:
        """Who is next, those set aside left out."""
        first = self._active.first()
        if first is None:
            return None
        return next(iter(self._users[first[2]].waiting.values()))[1]

    def remove(self, ticket: Ticket[P]) -> None:
        """A waiting ticket, at any place, set aside or not, waits no longer. Nothing is charged."""
        self._drop(ticket, charge=0.0)

    def take(self, ticket: Ticket[P]) -> float:
        """A waiting ticket, usually the head, is served: it waits no longer, and its user pays what it may cost.

        Returns:
            The user's counter after that, for `settle`.
        """
        payer = ticket.held
        return self._drop(ticket, charge=payer.cost / payer.share)

    def settle(self, payer: P, tokens: float, *, stood_at: float) -> None:
        """A request that was taken cost so many tokens more, or less, than it was charged.

        Less is given back no further than to where its user was lifted last: what was charged before that is no
        credit after it. `stood_at` is what `take` answered: a user forgotten since then goes on from there.
        """
        name, extra = payer.user, tokens / payer.share
        user = self._users.get(name)
        if user is not None:
            user.counter = max(user.counter + extra, user.base)
        elif stood_at + extra > self._lowest():
            user = self._users[name] = _User(stood_at + extra, self._lowest())
        else:
            return
        self._rank(name, user)
        self._forget()

    def set_aside(self, ticket: Ticket[P]) -> None:
        """A waiting ticket is passed over until `bring_back`; it keeps its place and its user keeps its counter."""
        name, key = ticket.held.user, id(ticket)
        user = self._users[name]
        user.aside[key] = user.waiting.pop(key)
        self._aside[key] = ticket
        self._rank(name, user)

    def bring_back(self) -> None:
        """Those set aside are where they were."""
        while self._aside:
            key, ticket = self._aside.popitem()
            name = ticket.held.user
            user = self._users[name]
            user.waiting[key] = user.aside.pop(key)
            user.waiting.move_to_end(key, last=False)
            self._rank(name, user)
        self._forget()

    def _lowest(self) -> float:
        first = self._active.first()
        return self._floor if first is None else first[0]

    def _lift(self, user: _User[P]) -> None:
        lowest = self._lowest()
        if user.counter <= lowest:
            user.counter = user.base = lowest

    def _drop(self, ticket: Ticket[P], *, charge: float) -> float:
        name, key = ticket.held.user, id(ticket)
        user = self._users[name]
        if self._aside.pop(key, None) is None:
            del user.waiting[key]
        else:
            del user.aside[key]
        self._size -= 1
        user.counter += charge
        if not self._size:
            self._floor = max(self._floor, user.counter)
        self._rank(name, user)
        self._forget()
        return user.counter

    def _rank(self, name: str, user: _User[P]) -> None:
        """Put a user where its counter and its tickets say."""
        if user.waiting:
            self._active.place(name, user.counter, next(iter(user.waiting.values()))[0])
            return
        self._active.drop(name)
        if not user.aside:
            self._debtors.place(name, user.counter, 0)

    def _forget(self) -> None:
        """Forget those who would be lifted anyway, and forgive the smallest leads when there are too many.

        While somebody is set aside, the lowest counter may be theirs.
        """
        lowest = self._lowest()
        while (first := self._debtors.first()) is not None:
            if (first[0] > lowest or self._aside) and len(self._debtors) <= self._max_debts:
                return
            self._debtors.drop(first[2])
            del self._users[first[2]]


class _Ranks:
    """Names by (counter, number), lowest first. A change leaves the old entry behind until it surfaces."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, str]] = []
        self._current: dict[str, tuple[float, int, str]] = {}

    def __len__(self) -> int:
        return len(self._current)

    def place(self, name: str, counter: float, number: int) -> None:
        """This name is here, wherever it was."""
        entry = (counter, number, name)
        if self._current.get(name) == entry:
            return
        self._current[name] = entry
        heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self._current) + _SLACK:
            self._heap = list(self._current.values())
            heapify(self._heap)

    def drop(self, name: str) -> None:
        """This name is nowhere."""
        self._current.pop(name, None)

    def first(self) -> tuple[float, int, str] | None:
        """The lowest."""
        heap, current = self._heap, self._current
        while heap:
            entry = heap[0]
            if current.get(entry[2]) is entry:
                return entry
            heappop(heap)
        return None
