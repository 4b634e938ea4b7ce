"""A stream's reader and a client's connection, joined: what is read is written, whatever the door that opened it.

Decides what a client hears when its connection ends before the stream: where to come back. Refuses to know who may
read, and how the stream came to be.
"""

import asyncio

from aiohttp import web

from citadel_edge.accounts.presence import Reason, reason_of
from citadel_edge.edge import EDGE
from citadel_edge.errors import RequestError
from citadel_edge.listeners.common.leaving import told_of, why_left
from citadel_edge.listeners.common.middlewares import LISTENER
from citadel_edge.listeners.common.sse import EventStream
from citadel_edge.listeners.streaming.dialects import Dialect, Script
from citadel_edge.listeners.streaming.metrics import STREAMING_METRICS
from citadel_edge.streams.cursor import Cursor
from citadel_edge.streams.metrics import Delivery, Transport
from citadel_edge.streams.reader import Reader
from citadel_edge.streams.values import Batch, Info, Recovery


async def answer_with(
    request: web.Request,
    reader: Reader,
    *,
    dialect: Dialect,
    headers: dict[str, str],
    came_back: tuple[Info, Recovery] | None = None,
    asked_s: float | None = None,
) -> web.StreamResponse:
    """Server-Sent Events until the stream's terminal record.

    Args:
        request: the client's.
        reader: of the stream; whoever opened it closes it.
        dialect: how the events look.
        headers: of the answer, beside those of every stream of events.
        came_back: the reader has a cursor, and this became of it.
        asked_s: monotonic seconds of a request that sees the answer from its first token on.
    """
    budget = request.app[EDGE].budgets[request.app[LISTENER]]
    metrics = request.app[STREAMING_METRICS]
    answer = EventStream(budget=budget, headers=headers)
    telling = _Telling(answer, Script(dialect), metrics.delivery(asked_s))
    with metrics.connected(Transport.SSE) as connection:
        try:
            await answer.prepare(request)
            async with answer:
                await telling.tell(reader, came_back)
        except asyncio.CancelledError as error:
            connection.left = why_left(error)
            await telling.end(error)
        except BaseException as error:
            connection.left = why_left(error)
            raise
    return answer


class _Telling:
    """One client and how far it is."""

    def __init__(self, answer: EventStream, script: Script, delivery: Delivery) -> None:
        self._answer = answer
        self._script = script
        self._delivery = delivery
        self._last: Cursor | None = None
        self._all_said = False

    async def tell(self, reader: Reader, came_back: tuple[Info, Recovery] | None) -> None:
        if came_back is not None and (said := self._script.recovered(*came_back)):
            await self._answer.say(said)
        reader.offer_to(self._tell_at_once)
        async for batch in reader:
            await self._say(batch)
            if self._all_said:
                return
            del batch  # not to be held while nothing comes

    async def _say(self, batch: Batch) -> None:
        """How far the client is, is noted before: what waits, and may be cancelled there, waits behind its write."""
        before = self._last, self._all_said
        broken = self._script.breaks_at(batch)
        self._last, self._all_said = batch.cursor, broken or batch.moved or batch.terminal is not None
        data = self._script.batch(batch)
        if batch.moved and not broken:
            data += self._last_words(Reason.DRAINING)
        if not data:
            return
        try:
            await self._answer.say(data)
        except RequestError:  # nothing was written
            self._last, self._all_said = before
            raise
        self._delivery.wrote(batch.came_s, len(batch.payloads))

    def _tell_at_once(self, batch: Batch) -> bool:
        """Without waking the task, where nothing has to be waited for. Never the first batch, which may say more."""
        if self._last is None or not self._answer.say_at_once(self._script.batch(batch)):
            return False
        self._delivery.wrote(batch.came_s, len(batch.payloads))
        self._last = batch.cursor
        return True

    async def end(self, error: asyncio.CancelledError) -> None:
        """A connection that we end ourselves gets a last word; one whose client left is left alone."""
        reason, task = reason_of(error), asyncio.current_task()
        if reason is None or task is None or not self._answer.prepared:
            raise error
        task.uncancel()
        if not await self._answer.part(b"" if self._all_said else self._last_words(reason)):
            raise error from None

    def _last_words(self, reason: Reason) -> bytes:
        moved = self._script.moved(self._last) if self._last is not None and reason is Reason.DRAINING else b""
        ended = told_of(reason)
        return moved or self._script.ended(ended.code, ended.message)
