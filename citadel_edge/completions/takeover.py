"""How a stream whose producer died goes on here: from its log, as one answer with one row and one charge.

Decides what of the log makes the part that was said, in whose name it goes on (the account is looked up again: a key
that was revoked meanwhile gets no more), and when it has to wait: for a seat, for the accounts, for a replica that can
answer, as after a start all of these come by and by. Whether the answer can be continued is `continuation`'s to decide;
one that cannot, or is hopeless, is ended in words: its log may lack what readers have, and nothing is made behind that.
Refuses to know how a dead producer is found.
"""

import asyncio
from collections.abc import Mapping
from typing import Final, Protocol
from uuid import UUID

from structlog.typing import FilteringBoundLogger

from citadel_edge.accounts.principal import Principal, Role
from citadel_edge.budgets.budget import Budget
from citadel_edge.completions.books import Recorder
from citadel_edge.completions.call import Call, Earlier
from citadel_edge.completions.continuation import forbidden, listen
from citadel_edge.completions.generation import FIRST_S
from citadel_edge.completions.producing import ROW, TIER, Production
from citadel_edge.completions.relay import Relay, framed
from citadel_edge.completions.request import CompletionRequest, Kind, parse
from citadel_edge.config.shape import Engine, ListenerName, Objective
from citadel_edge.errors import Code, RequestError, UpstreamError, UpstreamFault
from citadel_edge.fleet.engines.known import dialect_of
from citadel_edge.fleet.fleet import Fleet
from citadel_edge.streams.faces import Orphan
from citadel_edge.streams.metrics import How, StreamMetrics
from citadel_edge.streams.values import Begun
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.ids import uuid7

AT_ONCE: Final = 64
"""So many events are read before others have their turn."""
ACCOUNTS_WITHIN_S: Final = 10.0
REPLICA_WITHIN_S: Final = 30.0
LOOK_S: Final = 0.1


class Accounts(Protocol):
    """As much of the directory as is needed here. Both raise RequestError."""

    async def holder(self, key_id: str) -> Principal:
        """The caller with the key of this id."""

    async def entitled(self, user_id: str) -> Principal:
        """A user, for whoever asks in the user's name."""


class Takeover:
    """One object a process: `take` is the streams' `on_orphan`.

    Args:
        metrics: are told of each stream that goes on.
        accounts_within_s: how long it waits for them.
    """

    def __init__(
        self,
        *,
        production: Production,
        accounts: Accounts,
        ledger: Recorder,
        fleet: Fleet,
        budgets: Mapping[ListenerName, Budget],
        clock: Clock,
        log: FilteringBoundLogger,
        metrics: StreamMetrics | None = None,
        accounts_within_s: float = ACCOUNTS_WITHIN_S,
    ) -> None:
        self._production = production
        self._accounts = accounts
        self._ledger = ledger
        self._fleet = fleet
        self._budgets = budgets
        self._clock = clock
        self._log = log
        self._metrics = metrics
        self._accounts_within_s = accounts_within_s

    async def take(self, orphan: Orphan) -> bool:
        """Go on with a stream; False: not now. One that is only to be ended needs no seat and nobody who answers."""
        listener = ListenerName(orphan.origin.listener)
        if orphan.hopeless:
            call = await self._call(orphan, listener)
            self._production.produce(orphan.live, call).left_alone(None, told=True)
            return True
        try:
            self._ledger.check_room()
            seat = await self._budgets[listener].enter(1)
        except RequestError as error:
            return self._not_now(orphan, error)
        try:
            call = await self._call(orphan, listener)
            await self._replica(orphan, call)
        except RequestError as error:
            seat.leave()
            return self._not_now(orphan, error)
        except BaseException:
            seat.leave()
            raise
        self._production.produce(orphan.live, call, seat=seat)
        if self._metrics is not None:
            self._metrics.of(listener).continued(How.TAKEOVER)
        return True

    def _not_now(self, orphan: Orphan, error: RequestError) -> bool:
        self._log.info("stream_not_taken_over", stream=orphan.live.id, reason=error.message)
        return False

    async def _call(self, orphan: Orphan, listener: ListenerName) -> Call:
        """The call that goes on. Raises RequestError ACCOUNTS_UNAVAILABLE: nobody knows in whose name."""
        origin = orphan.origin
        principal, ended = await self._caller(orphan)
        request = parse(origin.body, Kind(origin.kind))
        return Call(
            request=request,
            principal=principal,
            listener=listener,
            endpoint=origin.endpoint,
            request_id=origin.request_id,
            traceparent=origin.traceparent,
            deadline_s=None if origin.due_unix_s is None else origin.due_unix_s - origin.created_unix_s,
            optimize=None if origin.optimize is None else Objective(origin.optimize),
            session=origin.session,
            spawn=self._budgets[listener].spawn,
            id=UUID(origin.facts[ROW]) if origin.facts.get(ROW) else uuid7(self._clock),
            earlier=await self._earlier(orphan, request, ended),
        )

    async def _caller(self, orphan: Orphan) -> tuple[Principal, RequestError | None]:
        """In whose name it goes on, or why it does not."""
        owner, until_s = orphan.live.owner, self._clock.monotonic_s() + self._accounts_within_s
        while True:
            try:
                if owner.key_id:
                    return await self._accounts.holder(owner.key_id), None
                return await self._accounts.entitled(owner.user_id), None
            except RequestError as error:
                if error.code is not Code.ACCOUNTS_UNAVAILABLE:
                    return _as_it_was(orphan), error
                if self._clock.monotonic_s() >= until_s:
                    if orphan.hopeless:
                        return _as_it_was(orphan), None
                    raise
            await asyncio.sleep(LOOK_S)

    async def _earlier(self, orphan: Orphan, request: CompletionRequest, ended: RequestError | None) -> Earlier:
        begun = orphan.begun or Begun()
        logged = orphan.events or orphan.live.cursor.seq
        return Earlier(
            age_s=max(0.0, self._clock.unix_s() - orphan.origin.created_unix_s),
            model=begun.model,
            upstream=begun.upstream,
            said=await self._said(orphan, request, begun.upstream) if logged else None,
            broken_by=UpstreamError(UpstreamFault.RESET, "the process that passed its answer on has ended"),
            first_s=begun.facts.get(FIRST_S),
            reservations=orphan.reservations,
            ended=ended or (_hopeless() if orphan.hopeless else None),
        )

    async def _said(self, orphan: Orphan, request: CompletionRequest, upstream: str) -> Relay:
        """What the log says, as if it had just been heard."""
        row = self._fleet.table.rows.get(upstream)
        dialect = dialect_of(Engine.OPENAI if row is None else row.engine)
        relay = listen(request, dialect, recording=forbidden(request) is None)
        for place in range(0, len(orphan.events), AT_ONCE):
            relay.feed(framed(orphan.events[place : place + AT_ONCE]))
            await asyncio.sleep(0)
        if orphan.first > 1:
            relay.said, relay.unfit = None, "its beginning is not in the log any more"
        return relay

    async def _replica(self, orphan: Orphan, call: Call) -> None:
        """Wait a while for somebody who can answer: after a start, replicas are found one by one."""
        asked = call.earlier.model if call.earlier else ""
        until_s = self._clock.monotonic_s() + REPLICA_WITHIN_S
        while not (orphan.live.stop.is_set() or self._usable(asked or call.request.model)):
            if self._clock.monotonic_s() >= until_s:
                return
            await asyncio.sleep(LOOK_S)

    def _usable(self, model: str) -> bool:
        """Whether a replica of it would answer; of a model that goes by another name, any replica."""
        now_s, table = self._clock.monotonic_s(), self._fleet.table
        places = table.deployments(model)
        if places:
            return any(place.admits(now_s) and place.row.usable(now_s) for place in places)
        return any(row.usable(now_s) for row in table.rows.values()) or not table.rows


def _hopeless() -> RequestError:
    message = "The process that relayed this answer ended, and its log has not all of it, or nobody went on in time."
    return RequestError(Code.UPSTREAM_ERROR, f"{message} What was sent is not the whole answer.")


def _as_it_was(orphan: Orphan) -> Principal:
    """Whose stream it was: one who gets no more, but pays for what there is."""
    owner = orphan.live.owner
    return Principal(
        organisation_id=owner.organisation_id,
        user_id=owner.user_id,
        key_id=owner.key_id,
        name="",
        role=Role.USER,
        tier=str(orphan.origin.facts.get(TIER, "")),
    )
