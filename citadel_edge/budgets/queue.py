"""Who gets a seat, who waits, who is turned away. The pure half of a listener's budget.

Decides by counting: `seats` may be taken at once, behind them `places` may wait, first come first served. Refuses to
know of time, tasks and HTTP: deadlines and cancellation reach it as `leave`.

Every change answers which waiting tickets are seated by it; whoever made the change must tell them. A ticket seated
so and leaving before it was told simply leaves: its seats go to the next, nothing is lost on the way.

`Fifo` holds the order of the waiting and nothing else. A fair queue over users takes its place by answering the same
four questions in another order.
"""

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum, auto
from typing import Generic, Protocol, TypeVar

Held = TypeVar("Held")
"""What a ticket carries for its owner: the waiter to be told."""


class State(Enum):
    """Where a ticket is."""

    WAITING = auto()
    SEATED = auto()
    GONE = auto()


@dataclass(slots=True, eq=False)
class Ticket(Generic[Held]):
    """One request's claim to `weight` seats. `seats` are those it holds, 0 while it waits and after it left."""

    weight: int
    held: Held
    state: State = State.WAITING
    seats: int = 0


class Order(Protocol[Held]):
    """An order of waiting tickets."""

    def push(self, ticket: Ticket[Held]) -> None:
        """A ticket begins to wait."""

    def head(self) -> Ticket[Held] | None:
        """Who is next. Stays the same until something is pushed or removed."""

    def remove(self, ticket: Ticket[Held]) -> None:
        """A waiting ticket, at any place, waits no longer."""

    def __len__(self) -> int:
        """How many wait."""
        ...


class Fifo(Generic[Held]):
    """First come, first served. Removing from the middle is O(1)."""

    def __init__(self) -> None:
        self._tickets: OrderedDict[int, Ticket[Held]] = OrderedDict()

    def push(self, ticket: Ticket[Held]) -> None:
        """The last in the row."""
        self._tickets[id(ticket)] = ticket

    def head(self) -> Ticket[Held] | None:
        """The one who waits longest."""
        return next(iter(self._tickets.values()), None)

    def remove(self, ticket: Ticket[Held]) -> None:
        """Out of the row."""
        del self._tickets[id(ticket)]

    def __len__(self) -> int:
        return len(self._tickets)


class WaitingRoom(Generic[Held]):
    """Seats and a bounded row of those who wait for them.

    A ticket heavier than all seats counts as all seats. The head of the row is never overtaken, also not by a lighter
    one: otherwise a heavy request could wait for ever.
    """

    def __init__(self, seats: int, places: int, order: Order[Held] | None = None) -> None:
        self.seats = seats
        self.places = places
        self.taken = 0
        self._waiting: Order[Held] = Fifo() if order is None else order

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def enter(self, ticket: Ticket[Held]) -> bool:
        """Seat the ticket, or let it wait; False when the row is full and it has to go."""
        if not self._waiting and self._fits(ticket):
            self._seat(ticket)
        elif len(self._waiting) < self.places:
            self._waiting.push(ticket)
        else:
            ticket.state = State.GONE
            return False
        return True

    def leave(self, ticket: Ticket[Held]) -> tuple[Ticket[Held], ...]:
        """Whether seated or waiting, the ticket goes; who is seated by that. Leaving twice is leaving once."""
        if ticket.state is State.GONE:
            return ()
        if ticket.state is State.WAITING:
            self._waiting.remove(ticket)
        self.taken -= ticket.seats
        ticket.seats = 0
        ticket.state = State.GONE
        return self._call() if self._waiting else ()

    def resize(self, seats: int, places: int) -> tuple[Ticket[Held], ...]:
        """Other bounds from now on; who is seated by that. Nobody is sent away: a smaller room empties by and by."""
        self.seats, self.places = seats, places
        return self._call()

    def _call(self) -> tuple[Ticket[Held], ...]:
        called: list[Ticket[Held]] = []
        while (head := self._waiting.head()) is not None and self._fits(head):
            self._waiting.remove(head)
            self._seat(head)
            called.append(head)
        return tuple(called)

    def _fits(self, ticket: Ticket[Held]) -> bool:
        return self.taken + min(ticket.weight, self.seats) <= self.seats

    def _seat(self, ticket: Ticket[Held]) -> None:
        ticket.seats = min(ticket.weight, self.seats)
        ticket.state = State.SEATED
        self.taken += ticket.seats
