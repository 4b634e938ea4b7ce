"""Answers whose life is not their client's: begun here, logged, and read by whoever may, as often as they like.

Decides what is kept of a request for another process that may have to go on with it, that a start under the same key is
one start, and what an answer holds of its listener's budget: the seat and the body of its handler, once that has gone,
and the bytes of its log that lie in memory. Refuses to know what its policy says when nobody reads.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from msgspec.structs import replace
from structlog.typing import FilteringBoundLogger

from citadel_edge.accounts.once import Create
from citadel_edge.accounts.presence import Presence, Reason
from citadel_edge.budgets.budget import Budget, Seat
from citadel_edge.completions.call import Call, Report
from citadel_edge.completions.generation import Generation
from citadel_edge.completions.pipeline import Pipeline
from citadel_edge.completions.terminals import Why
from citadel_edge.config.shape import ListenerName
from citadel_edge.errors import Code, RequestError
from citadel_edge.streams.live import Live
from citadel_edge.streams.reader import Reader
from citadel_edge.streams.streams import Streams
from citadel_edge.streams.values import Begun, Once, Origin, Owner, Policy, State
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.ids import uuid7

ROW: Final = "row"
TIER: Final = "tier"
LOOK_S: Final = 0.05
BEGINS_WITHIN_S: Final = 10.0
CLOSE_WITHIN_S: Final = 1.0
_AGAIN: Final = 2


def once_of(*, caller: str, path: str, key: str, body: bytes) -> Once:
    """A start that named itself: the user's id, the route, the key. Neither blanks nor the order of fields count."""
    create = Create.of(caller=caller, path=path, key=key, body=body)
    return Once(key=create.id.hex(), body_hash=create.body_hash)


class Produced:
    """A stream as its starter sees it, inside an async context. Leaving that is leaving the stream.

    Attributes:
        id: the stream's.
        created: False: it was begun before under the same key, perhaps by another process.
    """

    id: str
    created: bool

    def __init__(
        self, production: "Production", call: Call, *, policy: Policy, once: Once | None, seat: Seat | None
    ) -> None:
        self._production = production
        self._call = call
        self._policy = policy
        self._once = once
        self._seat = seat
        self._generation: Generation | None = None
        self._reader: Reader | None = None
        self._told = False

    async def admitted(self) -> None:
        """Return when its caller's limits let it pass and the log knows of it; from then on it is promised.

        Raises:
            RequestError: it was refused, and nothing was made.
            Refused: so by the engine.
        """
        generation = self._generation
        if generation is not None and self.created:
            await generation.admitted()
            generation.promise()
            await generation.live.stored()
            self._told = True

    async def begun(self) -> Begun:
        """Return when its answer begins, at the latest after ten seconds. Raises as `admitted`."""
        if self._generation is not None:
            return await self._generation.begun()
        return await self._production.begun_elsewhere(self.id)

    @property
    def so_far(self) -> tuple[Begun, Report | None]:
        """What is known of it here without waiting: how it began, and what was made if that is over."""
        generation = self._generation
        return (Begun(), None) if generation is None else (generation.live.begun or Begun(), generation.report)

    @property
    def reader(self) -> Reader:
        """From its first event on. Whoever asked for it once reads until the context is left."""
        if self._reader is None:
            if self._generation is None:
                raise RuntimeError("nothing was started: enter the context first")
            self._reader = self._production.streams.reader(self._generation.live)
        return self._reader

    async def __aenter__(self) -> Self:
        production = self._production
        for _ in range(_AGAIN):
            live, self.id, self.created = await production.create(self._call, self._policy, self._once)
            if live is not None:
                self._generation = production.produce(live, self._call)
                return self
            with suppress(RequestError):  # NOT_FOUND: the first start failed just now
                self._reader = (await production.streams.open(self.id)).reader
                self._generation = production.running.get(self.id)
                return self
        raise RequestError(Code.CONFLICT, "The same request failed a moment ago. Try again.", retry_after_s=1)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reader is not None:
            self._reader.close()
        if self._generation is not None and self.created:
            self._generation.left_alone(self._seat, told=self._told)


class Production:
    """One object a process.

    Args:
        group: where answers are made; it outlives their handlers.

    Attributes:
        running: what is made here now, by stream.
    """

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        streams: Streams,
        presence: Presence,
        budgets: Mapping[ListenerName, Budget],
        group: asyncio.TaskGroup,
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        self.streams = streams
        self.running: dict[str, Generation] = {}
        self._pipeline = pipeline
        self._presence = presence
        self._budgets = budgets
        self._group = group
        self._clock = clock
        self._log = log
        self._none = asyncio.Event()
        self._none.set()

    def start(self, call: Call, *, policy: Policy, once: Once | None = None, seat: Seat | None = None) -> Produced:
        """Begin an answer, unless one was begun under the same key.

        Args:
            call: a stream's.
            policy: what becomes of it when nobody reads.
            once: the start's own name.
            seat: the handler's: the answer keeps it as long as it outlives the handler.

        Raises:
            RequestError: on entering, IDEMPOTENCY_MISMATCH: the key was used for another request.
        """
        call = replace(call, id=call.id or uuid7(self._clock))
        return Produced(self, call, policy=policy, once=once, seat=seat)

    async def create(self, call: Call, policy: Policy, once: Once | None) -> tuple[Live | None, str, bool]:
        """The stream of a call: to be produced, or known already."""
        principal = call.principal
        owner = Owner(organisation_id=principal.organisation_id, user_id=principal.user_id, key_id=principal.key_id)
        hold = self._budgets[call.listener].count_bytes
        made = await self.streams.create(self._origin(call), owner, policy, once=once, hold=hold)
        return made.live, made.id, made.created

    def produce(self, live: Live, call: Call, *, seat: Seat | None = None) -> Generation:
        """Make an answer in a task of its own; with a seat of its own where it has no starter."""
        generation = Generation(
            live, call, pipeline=self._pipeline, presence=self._presence, clock=self._clock, log=self._log
        )
        if seat is not None:
            generation.left_alone(seat, told=True)
        self.running[live.id] = generation
        self._none.clear()
        budget, body_bytes = self._budgets[call.listener], len(live.origin.body)
        budget.count_bytes(body_bytes)
        generation.launch(
            lambda coro: budget.spawn(self._group, coro, name="generation"), lambda: self._over(generation, body_bytes)
        )
        return generation

    async def begun_elsewhere(self, stream: str) -> Begun:
        """Wait for the beginning of an answer that another process makes."""
        for _ in range(round(BEGINS_WITHIN_S / LOOK_S)):
            info = await self.streams.info(stream)
            if info.begun is not None or info.state is not State.RUNNING:
                return info.begun or Begun()
            await asyncio.sleep(LOOK_S)
        return Begun()

    async def idle(self) -> None:
        """Return when nothing is made here."""
        await self._none.wait()

    async def hand_on(self, within_s: float) -> None:
        """Leave what is being made to other processes, as far as the log has it and is at hand. This one ends."""
        for generation in tuple(self.running.values()):
            if generation.live.outlives_us:
                generation.end(Why.HANDED_ON)
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self.idle()

    async def close(self) -> None:
        """End whatever is left: handed on where that can be, else with a last word."""
        self.streams.take_no_more()
        await self.hand_on(CLOSE_WITHIN_S)
        for generation in tuple(self.running.values()):
            generation.end(Reason.DRAINING)
        await self.idle()

    def _over(self, generation: Generation, body_bytes: int) -> None:
        self.running.pop(generation.id, None)
        self._budgets[generation.call.listener].count_bytes(-body_bytes)
        if not self.running:
            self._none.set()

    def _origin(self, call: Call) -> Origin:
        """What another process would need to go on."""
        now_s = self._clock.unix_s()
        return Origin(
            body=call.request.body(),
            kind=call.request.kind.value,
            listener=call.listener.value,
            endpoint=call.endpoint,
            request_id=call.request_id,
            traceparent=call.traceparent,
            created_unix_s=now_s,
            due_unix_s=None if call.deadline_s is None else now_s + call.deadline_s,
            optimize=None if call.optimize is None else call.optimize.value,
            session=call.session,
            facts={ROW: call.id.hex if call.id else "", TIER: call.principal.tier},
        )
