"""One listener's budget: seats, a bounded queue with a deadline, bytes held, tasks spawned, disk share.

Decides who is admitted, through `queue.WaitingRoom`, and does the waiting: futures, timers, cancellation. Over a bound
the answer is RequestError OVERLOADED with the listener, the bound and a time to come back. Health and metrics never ask
here; a stream keeps its seat for its life. Refuses to know what a request is.

Two things are to come and have their places. Fair queueing over users: `WaitingRoom` takes any `queue.Order`; a fair
one in `budgets/fair_queue.py` replaces `Fifo`, and `admit` hands it the user with the ticket. Loop-time accounting:
`budgets/loop_time.py` will label the loop's steps with their listener and charge them against `cpu_weight`, which is
only kept here until then.
"""

import asyncio
import math
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from types import TracebackType
from typing import Any, Final, TypeVar

from citadel_edge.budgets.metrics import BudgetMetrics, Snapshot
from citadel_edge.budgets.queue import State, Ticket, WaitingRoom
from citadel_edge.budgets.storage import StorageBudget
from citadel_edge.config.shape import BudgetConfig, ListenerName
from citadel_edge.errors import Code, RequestError
from citadel_edge.telemetry.clock import Clock

_MB: Final = 2**20
_SMOOTHING: Final = 0.1
_MOST_RETRY_AFTER_S: Final = 60

Result = TypeVar("Result")
Waiter = asyncio.Future[None] | None


class Shed(StrEnum):
    """Why work was turned away."""

    QUEUE_FULL = "queue_full"
    QUEUE_TIMEOUT = "queue_timeout"
    MEMORY = "memory"
    STORAGE = "storage"


class Seat:
    """One admitted request's place. Whatever it holds is let go when it leaves."""

    __slots__ = ("_budget", "_bytes", "_since_s", "_ticket")

    def __init__(self, budget: "Budget", ticket: Ticket[Waiter], since_s: float) -> None:
        self._budget = budget
        self._ticket = ticket
        self._since_s = since_s
        self._bytes = 0

    @property
    def bytes(self) -> int:
        """What this request holds, in bytes."""
        return self._bytes

    def hold(self, n_bytes: int) -> None:
        """Hold so many bytes more; RequestError OVERLOADED when the listener may not."""
        if self._ticket.state is not State.SEATED:
            raise RuntimeError("the seat was given back: nothing may be held on it")
        self._budget.take_bytes(n_bytes)
        self._bytes += n_bytes

    def let_go(self, n_bytes: int) -> None:
        """Hold so many bytes less. After the request has left there is nothing to let go."""
        if self._ticket.state is not State.SEATED:
            return
        if not 0 <= n_bytes <= self._bytes:
            raise ValueError(f"cannot let go of {n_bytes} bytes: {self._bytes} are held")
        self._bytes -= n_bytes
        self._budget.give_bytes(n_bytes)

    def hand_over(self) -> "Seat":
        """The same place in other hands. Whoever leaves this one gives nothing back any more."""
        other = Seat(self._budget, self._ticket, self._since_s)
        other._bytes, self._bytes = self._bytes, 0
        self._ticket = Ticket(0, None, State.GONE)
        return other

    def leave(self) -> None:
        """Give everything back. The context manager does it."""
        if self._ticket.state is State.GONE:
            return
        self._budget.give_bytes(self._bytes)
        self._bytes = 0
        self._budget.give_seat(self._ticket, self._since_s)


class _Admission(AbstractAsyncContextManager[Seat]):
    """`async with budget.admit() as seat`. Leaving awaits nothing: it cannot be interrupted."""

    __slots__ = ("_budget", "_seat", "_weight")

    def __init__(self, budget: "Budget", weight: int) -> None:
        self._budget = budget
        self._weight = weight

    async def __aenter__(self) -> Seat:
        self._seat = await self._budget.enter(self._weight)
        return self._seat

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._seat.leave()


class Budget:
    """What one listener may hold, and what it holds. Belongs to one event loop.

    Attributes:
        storage: its disk share; spool and log files report to it.
        cpu_weight: its share of the loop's time, for the accounting to come.
    """

    def __init__(self, listener: ListenerName, config: BudgetConfig, *, clock: Clock, metrics: BudgetMetrics) -> None:
        self.listener = listener
        self.cpu_weight = config.cpu_weight
        self.storage = StorageBudget(listener, config.storage_mb, on_shed=lambda: self._count(Shed.STORAGE))
        self._config = config
        self._clock = clock
        self._room: WaitingRoom[Waiter] = WaitingRoom(config.tasks, config.queue)
        self._bytes = 0
        self._spawned = 0
        self._admitted = 0
        self._shed = dict.fromkeys(Shed, 0)
        self._mean_stay_s = 0.0
        self._observe_wait = metrics.add(listener, self.snapshot)

    def admit(self, *, weight: int = 1) -> AbstractAsyncContextManager[Seat]:
        """A seat for a request, at once or after waiting its turn.

        Args:
            weight: how many seats it counts for, at least 1; more than all seats counts as all.

        Raises:
            RequestError: OVERLOADED, on entering: the queue is full, or no seat came free within `queue_timeout_s`.
        """
        if weight < 1:
            raise ValueError(f"a request weighs at least 1 seat, not {weight}")
        return _Admission(self, weight)

    def spawn(self, group: asyncio.TaskGroup, coro: Coroutine[Any, Any, Result], *, name: str) -> asyncio.Task[Result]:
        """Start a task in the caller's group, counted to this listener until it is done."""
        try:
            task = group.create_task(coro, name=name)
        except BaseException:
            coro.close()
            raise
        self._spawned += 1
        task.add_done_callback(self._task_done)
        return task

    def resize(self, config: BudgetConfig) -> None:
        """Other bounds from now on. Nobody is sent away: a smaller budget empties by and by."""
        self._config = config
        self.cpu_weight = config.cpu_weight
        self.storage.resize(config.storage_mb)
        _tell(self._room.resize(config.tasks, config.queue))

    def snapshot(self) -> Snapshot:
        """The figures of this moment."""
        config = self._config
        return Snapshot(
            tasks=self._room.taken,
            queued=self._room.waiting,
            bytes=self._bytes,
            spawned=self._spawned,
            storage_bytes=self.storage.bytes,
            admitted=self._admitted,
            shed={reason.value: count for reason, count in self._shed.items()},
            limits={
                "tasks": config.tasks,
                "queue": config.queue,
                "bytes": config.memory_mb * _MB,
                "storage_bytes": config.storage_mb * _MB,
            },
        )

    async def enter(self, weight: int) -> Seat:
        """Take a seat or wait for one: what `admit` does on entering. The caller must have it leave."""
        ticket: Ticket[Waiter] = Ticket(weight, None)
        if not self._room.enter(ticket):
            raise self._refusal(Shed.QUEUE_FULL)
        if ticket.state is State.WAITING:
            await self._wait(ticket)
        self._admitted += 1
        return Seat(self, ticket, self._clock.monotonic_s())

    async def _wait(self, ticket: Ticket[Waiter]) -> None:
        loop = asyncio.get_running_loop()
        ticket.held = told = loop.create_future()
        since_s = self._clock.monotonic_s()
        timer = loop.call_later(self._config.queue_timeout_s, self._expire, ticket)
        try:
            await told
        except BaseException:  # cancelled; perhaps in the moment the seat was handed over, then it is handed on
            _tell(self._room.leave(ticket))
            raise
        finally:
            timer.cancel()
            self._observe_wait(self._clock.monotonic_s() - since_s)
        if ticket.state is not State.SEATED:
            raise self._refusal(Shed.QUEUE_TIMEOUT)

    def _expire(self, ticket: Ticket[Waiter]) -> None:
        if ticket.state is State.WAITING:
            _tell((ticket, *self._room.leave(ticket)))

    def give_seat(self, ticket: Ticket[Waiter], since_s: float) -> None:
        """A request leaves the seat it has held since then; whoever is next is told."""
        self._mean_stay_s += _SMOOTHING * (self._clock.monotonic_s() - since_s - self._mean_stay_s)
        _tell(self._room.leave(ticket))

    def take_bytes(self, n_bytes: int) -> None:
        """Count bytes as held; RequestError OVERLOADED past `memory_mb`."""
        if n_bytes < 0:
            raise ValueError(f"cannot hold {n_bytes} bytes")
        if self._bytes + n_bytes > self._config.memory_mb * _MB:
            raise self._refusal(Shed.MEMORY)
        self._bytes += n_bytes

    def count_bytes(self, n_bytes: int) -> None:
        """Count so many bytes more, or less, as held by work under way: what was let in is not sent away for them."""
        self._bytes += n_bytes

    def give_bytes(self, n_bytes: int) -> None:
        """Count bytes as let go."""
        self._bytes -= n_bytes

    def _task_done(self, _task: asyncio.Task[Any]) -> None:
        self._spawned -= 1

    def _count(self, reason: Shed) -> None:
        self._shed[reason] += 1

    def _refusal(self, reason: Shed) -> RequestError:
        self._count(reason)
        retry_after_s = self._retry_after_s()
        message = f"{self.listener} is overloaded: {self._explain(reason)}; try again in {retry_after_s} s"
        return RequestError(Code.OVERLOADED, message, retry_after_s=retry_after_s)

    def _explain(self, reason: Shed) -> str:
        config = self._config
        if reason is Shed.QUEUE_FULL:
            return (
                f"all {config.tasks} seats are taken and {self._room.waiting} of at most {config.queue} requests wait"
            )
        if reason is Shed.QUEUE_TIMEOUT:
            return f"none of its {config.tasks} seats came free within {config.queue_timeout_s:g} s"
        return f"it holds {self._bytes / _MB:.1f} MB and may hold {config.memory_mb} MB (memory_mb)"

    def _retry_after_s(self) -> int:
        """When the row as it stands will have been served, going by how long requests stay (whole seconds, 1 to 60)."""
        turns = (self._room.waiting + 1) / self._config.tasks
        return min(max(1, math.ceil(turns * self._mean_stay_s)), _MOST_RETRY_AFTER_S)


def _tell(tickets: tuple[Ticket[Waiter], ...]) -> None:
    """Wake those whose fate was decided. One who was cancelled meanwhile needs no waking and gives the seat on."""
    for ticket in tickets:
        if ticket.held is not None and not ticket.held.done():
            ticket.held.set_result(None)
