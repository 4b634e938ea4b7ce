"""`chat` and `resume`: generations and their streams, read on a WebSocket.

Decides what a client is told of a stream: an `ack` that names it, `token`s with all there is at a time, one last
message with what it took. Refuses to know how answers are made and kept, and who else reads them.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast

from aiohttp import web
from msgspec import UNSET, Raw

from citadel_edge.accounts.once import checked_key
from citadel_edge.accounts.principal import Principal
from citadel_edge.completions.call import Call, Report
from citadel_edge.completions.keeping import policy_of
from citadel_edge.completions.log_sink import Refused
from citadel_edge.completions.producing import once_of
from citadel_edge.completions.request import CompletionRequest, Kind, parse
from citadel_edge.edge import EDGE, Edge
from citadel_edge.errors import Code, RequestError
from citadel_edge.listeners.common.body import Holding
from citadel_edge.listeners.common.middlewares import LISTENER, LOG
from citadel_edge.listeners.common.readable import has_all, may_see, may_stop
from citadel_edge.listeners.common.routes import PASSAGE
from citadel_edge.listeners.streaming.metrics import STREAMING_METRICS
from citadel_edge.listeners.streaming.websocket.conversation import CallerOf, Operation
from citadel_edge.listeners.streaming.websocket.line import Line
from citadel_edge.listeners.streaming.websocket.messages import Ack, Chat, Done, Error, Id, Outcome, Resume, Said, Token
from citadel_edge.routing.objective import parse_header
from citadel_edge.streams.cursor import Cursor
from citadel_edge.streams.faces import Opened
from citadel_edge.streams.metrics import Delivery, Resumed
from citadel_edge.streams.reader import Reader
from citadel_edge.streams.values import GRACE_S, Batch, Once, OnDisconnect, Owner, Policy, Recovered, State, Terminal
from citadel_edge.telemetry.ids import request_id
from citadel_edge.telemetry.trace import child
from citadel_edge.wire.openai import texts


@dataclass(frozen=True, slots=True)
class _Reading:
    """One client's reading of one stream."""

    id: Id
    stream: str
    delivery: Delivery


class Generations:
    """Of one connection. `caller`: who asks, as each operation is judged."""

    def __init__(self, request: web.Request, line: Line, caller: CallerOf) -> None:
        self._request = request
        self._line = line
        self._caller = caller
        self._edge: Edge = request.app[EDGE]
        self._budget = self._edge.budgets[request.app[LISTENER]]
        self._metrics = request.app[STREAMING_METRICS]

    async def chat(self, asked: Chat, operation: Operation) -> Said:
        """Begin a generation and read it to its end. A client that leaves leaves it to its `on_disconnect`."""
        asked_s = self._edge.clock.monotonic_s()
        body = bytes(asked.request)
        kept = Policy(
            on_disconnect=asked.on_disconnect or OnDisconnect.GRACE,
            grace_s=GRACE_S if asked.grace_s is None else asked.grace_s,
        )
        wanted, policy = policy_of(parse(body, Kind.CHAT).streaming(True), kept)
        operation.reads = True
        principal = await self._caller()
        once = self._once(asked, body, principal)
        with Holding(self._budget) as held:
            held.hold(len(body))
            call = self._call(asked, wanted, held, principal)
            async with (
                self._budget.admit() as seat,
                self._edge.production.start(call, policy=policy, once=once, seat=seat) as produced,
            ):
                try:
                    await produced.admitted()
                except Refused as refused:
                    return _refused(asked.id, refused)
                reading = _Reading(asked.id, produced.id, self._metrics.delivery(asked_s))
                operation.stop = self._stop(produced.id, principal)
                await self._begin(operation, Ack(id=asked.id, stream=produced.id))
                return await self._read(reading, produced.reader)

    async def resume(self, asked: Resume, operation: Operation) -> Said:
        """Read a stream from behind a cursor to its end. Users see their own, operators everybody's."""
        operation.reads = True
        principal = await self._caller()
        with await self._open(asked, may_see(principal)) as opened:
            if opened.info.owner.user_id == principal.user_id:
                operation.stop = self._stop(opened.info.id, principal)
            reading = _Reading(asked.id, opened.info.id, self._metrics.delivery())
            await self._begin(operation, _acknowledged(asked, opened))
            return await self._read(reading, opened.reader)

    def _stop(self, stream: str, principal: Principal) -> Callable[[], Awaitable[object]]:
        """How an operation that reads a stream of the caller's own can be stopped at its source."""
        return lambda: self._edge.streams.stop(stream, may=may_stop(principal))

    async def _begin(self, operation: Operation, ack: Ack) -> None:
        """Tell the client that it runs."""
        operation.acknowledged = True
        await self._line.say(ack)

    async def _open(self, asked: Resume, may: Callable[[Owner], bool]) -> Opened:
        try:
            after = None if asked.after is None else Cursor.parse(asked.after)
            opened = await self._edge.streams.open(asked.stream, after, may=may)
        except RequestError:
            if asked.after is not None:
                self._metrics.resumed(Resumed.REFUSED)
            raise
        if after is None:
            return opened
        if has_all(opened.info, after):
            opened.reader.close()
            opened = await self._edge.streams.open(asked.stream, opened.info.cursor, may=may)
        full = opened.recovery.recovered is Recovered.FULL
        self._metrics.resumed(Resumed.FULL if full else Resumed.NONE)
        return opened

    async def _read(self, reading: _Reading, reader: Reader) -> Said:
        """Pass on what comes, all that is there at a time; the last word of it."""
        async for batch in reader:
            if batch.payloads or batch.lost is not None:
                await self._line.say(_token(reading.id, batch), (reading.stream, str(batch.cursor)))
                reading.delivery.wrote(batch.came_s, len(batch.payloads))
            if batch.moved:
                return _moved(reading, batch.cursor)
            if batch.terminal is not None:
                return _ended(reading, batch.terminal)
        raise RequestError(Code.INTERNAL, "the stream ended without a terminal record")

    def _once(self, asked: Chat, body: bytes, principal: Principal) -> Once | None:
        if asked.idempotency_key is None:
            return None
        key = checked_key(asked.idempotency_key)
        return once_of(caller=principal.user_id, path=self._request.path, key=key, body=body)

    def _call(self, asked: Chat, wanted: CompletionRequest, held: Holding, principal: Principal) -> Call:
        passage = self._request[PASSAGE]
        return Call(
            request=wanted,
            principal=principal,
            listener=self._request.app[LISTENER],
            endpoint=self._request.path,
            request_id=request_id(self._edge.clock),
            traceparent=child(passage.trace.header).header,
            deadline_s=asked.timeout_s,
            optimize=parse_header(asked.optimize),
            session=asked.session or None,
            spawn=self._budget.spawn,
            hold=held.hold,
            on_end=self._note,
        )

    def _note(self, report: Report) -> None:
        """The line of a generation, beside that of its connection."""
        connection = self._request[PASSAGE].request_id
        self._request.app[LOG].info(
            "generation",
            request_id=report.request_id,
            connection=connection,
            route=self._request.path,
            **report.facts(),
        )


def _acknowledged(asked: Resume, opened: Opened) -> Ack:
    if asked.after is None:
        return Ack(id=asked.id, stream=opened.info.id)
    recovery = opened.recovery
    return Ack(
        id=asked.id,
        stream=opened.info.id,
        recovered=recovery.recovered.value,
        lost=UNSET if recovery.lost is None else recovery.lost,
    )


def _token(identity: Id, batch: Batch) -> Token:
    return Token(
        id=identity,
        cursor=str(batch.cursor),
        text="".join(texts(batch.payloads)),
        chunks=[Raw(payload) for payload in batch.payloads],
        durable=batch.durable,
        lost=UNSET if batch.lost is None else batch.lost,
    )


def _ended(reading: _Reading, terminal: Terminal) -> Done | Error:
    """A stream's terminal record."""
    error = terminal.error or {}
    if terminal.outcome is State.ERROR:
        return Error(
            id=reading.id,
            code=str(error.get("code") or Code.UPSTREAM_ERROR.text),
            message=str(error.get("message") or "The generation failed."),
            outcome=cast(Outcome, terminal.outcome.value),
            stream=reading.stream,
            usage=terminal.usage,
            cost_usd=terminal.cost_usd,
            attempts=terminal.attempts,
        )
    return Done(
        id=reading.id,
        outcome=cast(Outcome, terminal.outcome.value),
        stream=reading.stream,
        usage=terminal.usage,
        cost_usd=terminal.cost_usd,
        attempts=terminal.attempts,
        tokens_saved=UNSET if terminal.tokens_saved is None else terminal.tokens_saved,
        error=error or UNSET,
    )


def _moved(reading: _Reading, cursor: Cursor) -> Error:
    """The process goes, the stream lives."""
    return Error(
        id=reading.id,
        code=Code.LISTENER_STOPPED.text,
        message="this process drains; the stream goes on elsewhere: connect anew and resume it",
        retry_after_s=1.0,
        outcome="moved",
        stream=reading.stream,
        cursor=str(cursor),
    )


def _refused(identity: Id, refused: Refused) -> Error:
    """The engine's own refusal, in its words."""
    error = refused.error
    return Error(id=identity, code=str(error.get("code") or "upstream_error"), message=str(error.get("message") or ""))
