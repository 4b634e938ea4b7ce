"""Calls that wait, and the lanes that carry them to Redis and back.

Decides which calls travel together, and what becomes of them when a link breaks. A lane is one task that alone owns
one link: callers hand in a question and wait for a future, so a caller that is cancelled or has waited long enough
goes away without touching the connection. What arrived while a lane was busy travels together in its next batch.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from redis.exceptions import ReadOnlyError
from structlog.typing import FilteringBoundLogger

from citadel_edge.errors import RedisUnavailable
from citadel_edge.storage.backoff import Backoff
from citadel_edge.storage.patience import patience
from citadel_edge.storage.redis_faults import FAULTS, Fault, judge
from citadel_edge.storage.redis_link import Inquiry, Link

BATCH: Final = 64
CONNECT_S: Final = 2.0
FIRST_PAUSE_S: Final = 0.05
LAST_PAUSE_S: Final = 1.0


class Pending:
    """A command whose caller waits for `reply`."""

    __slots__ = ("args", "deadline_s", "label", "moved", "reply")

    def __init__(self, args: tuple[Any, ...], deadline_s: float, label: str) -> None:
        self.args = args
        self.deadline_s = deadline_s
        self.label = label
        self.moved = False
        self.reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def answer(self, reply: Any) -> None:
        """Give the caller its reply, if it still waits."""
        self.moved = isinstance(reply, ReadOnlyError)
        if self.reply.done():
            return
        if not isinstance(reply, Exception):
            self.reply.set_result(reply)
            return
        fault, words = judge(reply)
        self.reply.set_exception(reply if fault is Fault.NONE else RedisUnavailable(f"{self.label} {words}"))


class Work:
    """The calls that no lane has taken yet, oldest first."""

    def __init__(self) -> None:
        self._pending: deque[Pending] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._woken = False

    def put(self, pending: Pending) -> None:
        """Queue a call. One lane is woken for all calls of this turn of the loop, so that they travel together."""
        self._pending.append(pending)
        if not self._woken:
            self._wake_one()

    def take(self, most: int) -> list[Pending]:
        """Up to `most` calls whose callers still wait; if more are left, the next lane is woken."""
        self._woken = False
        taken: list[Pending] = []
        while self._pending and len(taken) < most:
            pending = self._pending.popleft()
            if not pending.reply.done():
                taken.append(pending)
        if self._pending:
            self._wake_one()
        return taken

    async def wait(self) -> None:
        """Return when there may be something to do."""
        waiter = asyncio.get_running_loop().create_future()
        self._idle.append(waiter)
        await waiter

    def pass_on(self) -> None:
        """The lane that was woken cannot take anything now: wake another."""
        self._woken = False
        if self._pending:
            self._wake_one()

    def wake_all(self) -> None:
        """Make every idle lane look around."""
        self._woken = False
        while self._idle:
            self._wake_one()

    def fail_all(self, error: Callable[[], Exception]) -> None:
        """Nobody will be served: tell those who wait."""
        while self._pending:
            pending = self._pending.popleft()
            if not pending.reply.done():
                pending.reply.set_exception(error())

    def _wake_one(self) -> None:
        while self._idle:
            waiter = self._idle.popleft()
            if not waiter.done():
                waiter.set_result(None)
                self._woken = True
                return


class Watchtower:
    """What the lanes of a pool know together: who serves, and since when all have to look again."""

    def __init__(self, *, opened: Callable[[], None], shut: Callable[[str], None], alarmed: Callable[[], None]) -> None:
        self.alarm = 0
        self._serving: set[object] = set()
        self._opened = opened
        self._shut = shut
        self._alarmed = alarmed
        self._hope = asyncio.Event()

    def serves(self, lane: object) -> None:
        """A lane has an answer from the server."""
        self._serving.add(lane)
        self._opened()

    def fails(self, lane: object, words: str) -> None:
        """A lane has lost the server: all others look whether they have, and without any the server is away."""
        if lane in self._serving:
            self._serving.remove(lane)
            self.alarm += 1
            self._alarmed()
        if not self._serving:
            self._shut(words)

    def hope(self) -> None:
        """There is a reason why the next attempt may succeed."""
        self._hope.set()
        self._hope = asyncio.Event()

    async def pause(self, longest_s: float) -> None:
        """Wait between attempts, unless there is hope."""
        with suppress(TimeoutError):
            async with asyncio.timeout(longest_s):
                await self._hope.wait()


class Lane:
    """One link and the task that owns it."""

    def __init__(
        self, link: Link, work: Work, tower: Watchtower, *, deadline_s: float, log: FilteringBoundLogger
    ) -> None:
        self._link = link
        self._work = work
        self._tower = tower
        self._deadline_s = deadline_s
        self._log = log
        self._alarm = -1

    async def run(self) -> None:
        """Serve until cancelled."""
        pauses = Backoff(FIRST_PAUSE_S, LAST_PAUSE_S)
        try:
            while True:
                if await self._prepare():
                    pauses.reset()
                    await self._serve()
                else:
                    await self._tower.pause(pauses.next_s())
        finally:
            await self._link.close()

    async def _prepare(self) -> bool:
        """Have a link over which the server has answered since the last alarm."""
        alarm = self._tower.alarm
        try:
            if await self._link.usable():
                await self._ping(self._deadline_s)
            else:
                await self._link.close()
                async with patience(CONNECT_S):
                    await self._link.connect()
                await self._ping(CONNECT_S)
        except FAULTS as error:
            await self._give_up(error)
            return False
        except Exception as error:
            self._log.exception("a Redis link failed in a way nobody foresaw")
            await self._give_up(error)
            return False
        self._alarm = alarm
        self._tower.serves(self)
        return True

    async def _ping(self, deadline_s: float) -> None:
        """Only an answer to a command shows that the server is neither loading, busy nor frozen."""
        ping = Inquiry("PING")
        async with patience(deadline_s):
            await self._link.ask([ping])
        ping.value()

    async def _serve(self) -> None:
        while self._alarm == self._tower.alarm and await self._link.usable():
            batch = self._work.take(BATCH)
            if not batch:
                await self._work.wait()
            elif not await self._carry(batch):
                return
        self._work.pass_on()

    async def _carry(self, batch: Sequence[Pending]) -> bool:
        try:
            async with patience(max(pending.deadline_s for pending in batch)):
                await self._link.ask(batch)
        except FAULTS as error:
            await self._give_up(error, batch)
            return False
        except Exception as error:
            self._log.exception("a Redis link failed in a way nobody foresaw")
            await self._give_up(error, batch)
            return False
        except BaseException:
            _fail(batch, ConnectionError("the pool is closing"))
            raise
        if any(pending.moved for pending in batch):
            await self._link.close()  # a replica took the primary's place at this address: connect anew
        return True

    async def _give_up(self, error: BaseException, batch: Sequence[Pending] = ()) -> None:
        await self._link.close()
        _, words = judge(error)
        _fail(batch, error)
        self._tower.fails(self, words or "answered with an error")


def _fail(batch: Sequence[Pending], error: BaseException) -> None:
    fault, words = judge(error)
    for pending in batch:
        words = f"did not answer within {pending.deadline_s * 1000:g} ms" if fault is Fault.SLOW else words
        if not pending.reply.done():
            pending.reply.set_exception(RedisUnavailable(f"{pending.label} {words}"))
