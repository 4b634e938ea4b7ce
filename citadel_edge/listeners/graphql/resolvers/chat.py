"""`chat`: an answer at once, or as its tokens come. Logged as a stream either way; and the reading of streams.

Decides what an event of a reading says: all that there is at a time, and where to come back. The same pipeline, limits
and decisions as at the other doors. Refuses to know how answers are made and kept.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from msgspec import Raw, Struct

from citadel_edge.completions.producing import Produced
from citadel_edge.errors import CitadelError, Code, RequestError
from citadel_edge.graph.context import Claim
from citadel_edge.listeners.common.readable import has_all, may_see
from citadel_edge.listeners.graphql.binding import Type
from citadel_edge.listeners.graphql.context import Context
from citadel_edge.listeners.graphql.resolvers.asking import call_of, once_named, policy_and_request
from citadel_edge.listeners.graphql.resolvers.collected import Collected
from citadel_edge.listeners.graphql.resolvers.decisions import decision_of
from citadel_edge.listeners.graphql.resolvers.ids import plain_id
from citadel_edge.listeners.graphql.resolvers.pricing import claimed, settle, settle_here
from citadel_edge.listeners.graphql.resolvers.told import Info, UserError, payload, told, told_end
from citadel_edge.streams.cursor import Cursor
from citadel_edge.streams.faces import Opened
from citadel_edge.streams.values import Batch, Begun, OnDisconnect, Policy, Terminal

DECISION: Final = "X-Citadel-Decision"
_WITH_ITS_CLIENT: Final = Policy(on_disconnect=OnDisconnect.CANCEL)
_LOST: Final = UserError(code=Code.INTERNAL.text, message="Parts of it are lost: this is not the whole answer.")
_KEPT: Final = Policy(on_disconnect=OnDisconnect.GRACE)


class Ended(Struct, frozen=True):
    """A stream's end. `read`: why the model stopped as far as this reader has read, for records that do not say it."""

    terminal: Terminal
    read: str | None = None

    @property
    def finish_reason(self) -> str | None:
        """Why the model stopped."""
        return self.terminal.finish_reason or self.read


class Event(Struct, frozen=True, kw_only=True):
    """What came of a stream since the event before, as the contract has it."""

    errors: tuple[UserError, ...] = ()
    stream_id: str | None = None
    cursor: str | None = None
    recovered: str | None = None
    lost: tuple[int, int] | None = None
    text: str = ""
    chunks: list[Raw] = []
    durable: bool = True
    end: Ended | None = None
    moved: bool = False


class _Reading:
    """One reader's way through a stream."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._collected = Collected()

    def event(self, batch: Batch) -> Event:
        """All that came."""
        text, terminal = self._collected.take(batch.payloads), batch.terminal
        return Event(
            stream_id=self._stream,
            cursor=str(batch.cursor if terminal is None else Cursor(batch.epoch, batch.last + 1)),
            lost=batch.lost,
            text=text,
            chunks=[Raw(payload) for payload in batch.payloads],
            durable=batch.durable,
            end=None if terminal is None else Ended(terminal, self._collected.finish_reason),
            moved=batch.moved,
        )


@payload
async def chat(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    """An answer in one piece."""
    async with _produced(context, given, _WITH_ITS_CLIENT) as (produced, claim):
        collected, lost = Collected(), False
        async for batch in produced.reader:
            lost = lost or batch.lost is not None
            context.hold(sum(map(len, batch.payloads)))
            collected.take(batch.payloads)
            if batch.terminal is not None:
                settle(context, claim, batch.terminal)
                return await _answered(produced, batch.terminal, collected, lost=lost)
            if batch.moved:
                break
        return _moved(context, produced, claim)


async def chat_live(_: None, info: Info, given: dict[str, Any]) -> AsyncIterator[Event]:
    """An answer as it comes. Leaving it leaves it to its `onDisconnect`."""
    context = info.context
    try:
        async with _produced(context, given, _KEPT) as (produced, claim):
            began = await context.edge.streams.info(produced.id)
            yield Event(stream_id=produced.id, cursor=str(Cursor(began.cursor.epoch, 0)), durable=began.durable)
            reading = _Reading(produced.id)
            async for batch in produced.reader:
                if batch.terminal is not None:
                    settle(context, claim, batch.terminal)
                elif batch.moved:
                    settle_here(context, claim, produced.so_far[1])
                yield reading.event(batch)
    except CitadelError as error:
        yield Event(errors=(told(error),))


async def stream_live(_: None, info: Info, identity: str, after: str | None = None) -> AsyncIterator[Event]:
    """A stream from a cursor on, or from its first event."""
    context = info.context
    try:
        with await _open(
            context, plain_id("Stream", identity), None if after is None else Cursor.parse(after)
        ) as opened:
            yield _opening(opened, after)
            reading = _Reading(opened.info.id)
            async for batch in opened.reader:
                yield reading.event(batch)
    except CitadelError as error:
        yield Event(errors=(told(error),))


@asynccontextmanager
async def _produced(context: Context, given: dict[str, Any], default: Policy) -> AsyncIterator[tuple[Produced, Claim]]:
    """The chat, let in by its operation's budget and its caller's limits. Leaving the context leaves its stream."""
    request, policy = policy_and_request(given, default)
    call, once = call_of(context, given, request), once_named(context, given, request)
    edge, seat = context.edge, context.seat
    async with AsyncExitStack() as stack:
        if seat is None:
            seat = await stack.enter_async_context(edge.budgets[call.listener].admit())
        with claimed(context, call) as claim:
            starting = edge.production.start(call, policy=policy, once=once, seat=seat)
            produced = await stack.enter_async_context(starting)
            await produced.admitted()
        yield produced, claim


async def _open(context: Context, stream: str, after: Cursor | None) -> Opened:
    streams, may = context.edge.streams, may_see(context.principal)
    opened = await streams.open(stream, after, may=may)
    if after is None or not has_all(opened.info, after):
        return opened
    opened.reader.close()
    return await streams.open(stream, opened.info.cursor, may=may)


def _opening(opened: Opened, after: str | None) -> Event:
    """Names the stream, and says whether a reader that came back goes on where it was."""
    info = opened.info
    start = str(Cursor(info.cursor.epoch, max(0, info.first - 1)))
    if after is None:
        return Event(stream_id=info.id, cursor=start, durable=info.durable)
    recovery = opened.recovery
    cursor = after if recovery.recovered.value == "full" else start
    return Event(
        stream_id=info.id, cursor=cursor, recovered=recovery.recovered.value, lost=recovery.lost, durable=info.durable
    )


async def _answered(produced: Produced, terminal: Terminal, collected: Collected, *, lost: bool) -> dict[str, Any]:
    """`lost`: not all that was said came to this reader, however well the answer ended."""
    begun = await produced.begun()
    failure = told_end(terminal) or (_LOST if lost else None)
    return {
        "errors": () if failure is None else (failure,),
        "stream_id": produced.id,
        "content": collected.text,
        "reasoning": collected.reasoning,
        "tool_calls": collected.tool_calls,
        "finish_reason": collected.finish_reason,
        "outcome": terminal.outcome,
        "usage": terminal.usage,
        "cost_usd": terminal.cost_usd,
        "attempts": terminal.attempts,
        **_who_answers(begun),
    }


def _moved(context: Context, produced: Produced, claim: Claim) -> dict[str, Any]:
    """It goes on elsewhere: where to read it, and who answered so far."""
    begun, report = produced.so_far
    settle_here(context, claim, report)
    words = f"This process drains: read the stream {produced.id} elsewhere."
    return {
        "errors": (told(RequestError(Code.LISTENER_STOPPED, words)),),
        "stream_id": produced.id,
        **_who_answers(begun),
    }


def _who_answers(begun: Begun) -> dict[str, Any]:
    return {
        "model": begun.model or None,
        "upstream": begun.upstream or None,
        "decision_id": begun.headers.get(DECISION),
    }


async def _decision(source: Mapping[str, Any], info: Info) -> Mapping[str, Any] | None:
    return await decision_of(info.context, source.get("decision_id"))


def _lost(source: tuple[int, int], position: int) -> int:
    return source[position]


TYPES = {
    "ChatPayload": Type(Mapping, {"decision": _decision}),
    "StreamEvent": Type(Event),
    "LostEvents": Type(
        tuple, {"first": lambda source, _: _lost(source, 0), "last": lambda source, _: _lost(source, 1)}
    ),
    "StreamEnd": Type(
        Ended,
        {
            "outcome": "terminal.outcome",
            "usage": "terminal.usage",
            "costUsd": "terminal.cost_usd",
            "attempts": "terminal.attempts",
            "error": lambda source, _: told_end(source.terminal),
            "tokensSaved": "terminal.tokens_saved",
        },
    ),
    "TokenUsage": Type(Mapping),
    "UserError": Type(UserError),
}
