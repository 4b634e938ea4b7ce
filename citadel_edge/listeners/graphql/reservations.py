"""Places for clients of graphql-sse that send their operations beside the one stream on which they hear the answers.

Decides what a token is worth: one stream, opened within 30 seconds, for the user who reserved it; how many of a user's
wait for their streams, and how many operations go on at once; and that those which come before the stream wait for it.
Refuses to know what operations do.
"""

import asyncio
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from citadel_edge.accounts.principal import Principal
from citadel_edge.budgets.budget import Budget
from citadel_edge.errors import Code, RequestError

LIFE_S: Final = 30.0
MOST_OPERATIONS: Final = 100
MOST_WAITING: Final = 16
_SECRET_BYTES: Final = 32
_PREFIX: Final = "cit_ticket_"  # looks like a key of ours, so that the log redacts it wherever it might turn up
_GONE: Final = "no such reservation: it is over, or of another process or user; make a new one: PUT /graphql"
Say = Callable[[bytes], Awaitable[None]]
Work = Callable[[Say], Coroutine[Any, Any, None]]


@dataclass(slots=True, eq=False)
class Operation:
    """One of a client's.

    Attributes:
        work: says all of its answer; null while it is prepared.
        task: that does it; null while there is no stream.
        size_bytes: what is held of it.
        told: why it was ended is said: the stream's last words leave it out.
    """

    id: str
    work: Work | None = None
    task: asyncio.Task[None] | None = None
    size_bytes: int = 0
    told: bool = False


Serve = Callable[[Operation], asyncio.Task[None]]


class Reservation:
    """One client's place, from its token to the end of its stream."""

    def __init__(self, token: str, principal: Principal, budget: Budget) -> None:
        self.token = token
        self.principal = principal
        self.operations: dict[str, Operation] = {}
        self._budget = budget
        self._serve: Serve | None = None
        self._ended = asyncio.Event()

    def take(self, identity: str) -> Operation:
        """Take an id for an operation that is being prepared. RequestError when it cannot be."""
        if identity in self.operations:
            raise RequestError(Code.CONFLICT, f"the operation id {identity[:40]!r} is taken by one that runs")
        if len(self.operations) >= MOST_OPERATIONS:
            raise RequestError(Code.OVERLOADED, f"at most {MOST_OPERATIONS} operations run on one stream")
        operation = self.operations[identity] = Operation(identity)
        return operation

    def begin(self, operation: Operation, work: Work, *, size_bytes: int) -> bool:
        """Have it run as soon as the stream is there; false when it was ended while it was prepared."""
        if self.operations.get(operation.id) is not operation:
            return False
        self._budget.take_bytes(size_bytes)
        operation.work, operation.size_bytes = work, size_bytes
        if self._serve is not None:
            operation.task = self._serve(operation)
        return True

    @contextmanager
    def served(self, serve: Serve) -> Iterator[None]:
        """Operations are run by `serve`, inside; those that have waited for it at once."""
        self._serve = serve
        try:
            for operation in tuple(self.operations.values()):
                if operation.work is not None:
                    operation.task = serve(operation)
            yield
        finally:
            self._serve = None

    def end(self, operation: Operation) -> None:
        """It is over, or unwanted."""
        if self.operations.get(operation.id) is not operation:
            return
        del self.operations[operation.id]
        self._budget.give_bytes(operation.size_bytes)
        if operation.task is not None and operation.task is not asyncio.current_task():
            operation.task.cancel()
        self._ended.set()

    async def idle(self) -> None:
        """Return when no operation is left."""
        while self.operations:
            self._ended.clear()
            await self._ended.wait()

    def close(self) -> None:
        """Nothing is left of it."""
        for operation in tuple(self.operations.values()):
            self.end(operation)


class Reservations:
    """Those of one door. `most`: how many there may be."""

    def __init__(self, budget: Budget, *, most: Callable[[], int]) -> None:
        self._budget = budget
        self._most = most
        self._held: dict[str, tuple[Reservation, asyncio.TimerHandle]] = {}
        self._waiting: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._held)

    def make(self, principal: Principal) -> Reservation:
        """A place; its stream has to come soon. RequestError RATE_LIMIT_EXCEEDED, OVERLOADED."""
        if self._waiting[principal.user_id] >= MOST_WAITING:
            words = f"{MOST_WAITING} reservations of yours wait for their streams; open those, or wait until they end"
            raise RequestError(Code.RATE_LIMIT_EXCEEDED, words, retry_after_s=LIFE_S)
        if len(self._held) >= self._most():
            raise RequestError(Code.OVERLOADED, "too many reservations; try again", retry_after_s=LIFE_S)
        place = Reservation(_PREFIX + secrets.token_urlsafe(_SECRET_BYTES), principal, self._budget)
        timer = asyncio.get_running_loop().call_later(LIFE_S, self.drop, place)
        self._held[place.token] = place, timer
        self._waiting[principal.user_id] += 1
        return place

    def find(self, token: str, principal: Principal | None = None) -> Reservation:
        """The place of a token, if it is this user's. RequestError NOT_FOUND."""
        place, _ = self._held.get(token, (None, None))
        if place is None or (principal is not None and place.principal.user_id != principal.user_id):
            raise RequestError(Code.NOT_FOUND, _GONE)
        return place

    def open(self, place: Reservation) -> None:
        """Its stream is there: from now on it lasts as long as that. RequestError CONFLICT: it has one."""
        _, timer = self._held[place.token]
        if timer.cancelled():
            raise RequestError(Code.CONFLICT, "the stream of this reservation is open already")
        self._wait_no_more(place, timer)

    def drop(self, place: Reservation) -> None:
        """It is over."""
        _, timer = self._held.pop(place.token)
        if not timer.cancelled():
            self._wait_no_more(place, timer)
        place.close()

    def _wait_no_more(self, place: Reservation, timer: asyncio.TimerHandle) -> None:
        timer.cancel()
        user_id = place.principal.user_id
        self._waiting[user_id] -= 1
        if not self._waiting[user_id]:
            del self._waiting[user_id]
