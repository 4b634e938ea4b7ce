"""One inference request from its arrival to its last byte: body, fault, queue, prompt, tokens, record.

Refuses to know routes and ports (`server`), shapes (`dialects`), words (`plan`) and how connections break (`wounds`).
Everything it changes, it changes on the loop's one thread and gives back in a `finally`.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from citadel_edge.simulator.asks import Kind, Refusal, decode_body, texts_of
from citadel_edge.simulator.background import Background
from citadel_edge.simulator.conduct import Conduct
from citadel_edge.simulator.dialects.base import Dialect, Page, Reply
from citadel_edge.simulator.dialects.frames import Frames
from citadel_edge.simulator.embeddings import embeddings_body
from citadel_edge.simulator.faults import Entry, Facts, FaultBook, FaultKind
from citadel_edge.simulator.generation import Generation
from citadel_edge.simulator.metrics import Snapshot
from citadel_edge.simulator.options import SimulatorOptions
from citadel_edge.simulator.out import Out
from citadel_edge.simulator.plan import make_plan
from citadel_edge.simulator.prefix_cache import PrefixCache
from citadel_edge.simulator.records import Outcome, Record, Stats
from citadel_edge.simulator.slots import QueueFull, Slots
from citadel_edge.simulator.strikes import Strikes
from citadel_edge.simulator.text import Voice, count_tokens, tokens
from citadel_edge.simulator.work import Work
from citadel_edge.simulator.wounds import Broken

BLOCK_TOKENS = 16


@dataclass(slots=True)
class Serving:
    """The engine behind the routes.

    Attributes:
        options: what it is like.
        dialect: how it speaks.
        clock: monotonic seconds.
        faults: what shall go wrong.
        strikes: who makes it go wrong.
        tasks: owner of what runs on without its client.
    """

    options: SimulatorOptions
    dialect: Dialect
    clock: Callable[[], float]
    faults: FaultBook
    strikes: Strikes
    tasks: Background
    stats: Stats = field(init=False)
    slots: Slots = field(init=False)
    conduct: Conduct = field(init=False)
    generation: Generation = field(init=False)
    cache: PrefixCache = field(init=False)
    voice: Voice = field(init=False)
    wrong_gauges: dict[str, float] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Make the parts that belong to nobody else."""
        options = self.options
        self.stats = Stats(kept=options.kept_records)
        self.slots = Slots(capacity=self.dialect.slots, queue_limit=self.dialect.queue_limit())
        self.conduct = Conduct(options.timing)
        self.generation = Generation(
            conduct=self.conduct,
            slots=self.slots,
            strikes=self.strikes,
            clock=self.clock,
            chunk_tokens=options.chunk_tokens,
        )
        self.cache = PrefixCache(capacity=options.cache_blocks, block_tokens=BLOCK_TOKENS)
        name = options.voice or options.model
        self.voice = Voice(seed=options.seed, name=name, shortest=options.shortest, longest=options.longest)

    def snapshot(self) -> Snapshot:
        """The load; wrong gauges replace what they name."""
        stats = self.stats
        memory = max(1, self.options.cache_blocks * BLOCK_TOKENS)
        gauges: Mapping[str, Any] = {
            "running": self.slots.running,
            "waiting": self.slots.waiting,
            "kv_usage": min(1.0, stats.held_tokens / memory),
        }
        return Snapshot(
            **{**gauges, **self.wrong_gauges},
            slots=self.slots.capacity,
            prompt_tokens=stats.prompt_tokens,
            generated_tokens=stats.generated,
            cache_queries=self.cache.queried_tokens,
            cache_hits=self.cache.hit_tokens,
            finished=dict(stats.finished),
            prefill_s=stats.prefill_s,
            decode_s=stats.decode_s,
        )

    def stick_gauges(self, **wrong: float) -> None:
        """Let the gauges lie: these values, or with none the present ones, until `wrong_gauges` is cleared."""
        now = self.snapshot()
        truth = {"running": now.running, "waiting": now.waiting, "kv_usage": now.kv_usage}
        self.wrong_gauges.clear()
        self.wrong_gauges.update(wrong or truth)

    async def infer(self, request: web.Request, kind: Kind) -> web.StreamResponse:
        """Answer one request, whatever happens to it."""
        record = self.stats.open(request.path, request.headers, self.clock())
        if not self.dialect.keeps_generating(record.headers):
            answer = await self._life(request, kind, record, kept=False)
        else:
            task = self.tasks.spawn(self._life(request, kind, record, kept=True))
            try:
                answer = await asyncio.shield(task)
            except asyncio.CancelledError:
                record.disconnected_at = self.clock()
                raise
        if answer is None:  # wait until aiohttp sees that the connection is gone, and cancels this
            answer = await asyncio.get_running_loop().create_future()
        return answer

    async def _life(self, request: web.Request, kind: Kind, record: Record, *, kept: bool) -> web.StreamResponse | None:
        """The answer, or None when the connection was broken on purpose; the record is closed in any case."""
        outcome = Outcome.FAULT
        try:
            answer = await self._answer(request, kind, record, kept=kept)
            outcome = Outcome.FAULT if record.fault and record.finish is None else Outcome.DONE
        except Refusal as refusal:
            outcome = Outcome.REFUSED
            return page_response(self.dialect.error(refusal), self.dialect.headers)
        except Broken:
            return None
        except (asyncio.CancelledError, ConnectionError):
            outcome = Outcome.CANCELLED
            record.disconnected_at = record.disconnected_at or self.clock()
            raise
        else:
            return answer
        finally:
            self.stats.close(record, outcome, self.clock())

    async def _answer(self, request: web.Request, kind: Kind, record: Record, *, kept: bool) -> web.StreamResponse:
        body = decode_body(raw := await request.read())
        record.body = body
        entry = self.faults.take(_facts(request, body, raw)) if self.faults else None
        if entry is not None:
            record.fault = entry.fault.kind.value
            early = await self.strikes.before(entry, request)
            if early is not None:
                return early
        if kind is Kind.EMBEDDINGS:
            return await self._embed(body, record)
        work = self._work(request, kind, record, entry, kept=kept)
        return await (self._stream(work) if work.ask.stream else self._whole(work))

    def _work(self, request: web.Request, kind: Kind, record: Record, entry: Entry | None, *, kept: bool) -> Work:
        """Everything that can be refused is refused here, before any byte of an answer."""
        ask = self.dialect.read(kind, record.body)
        read = tokens(ask.text)
        record.prompt_tokens = len(read)
        room = self.dialect.room(ask, len(read))
        try:
            self.slots.check()
        except QueueFull:
            raise self.dialect.overloaded() from None
        plan = make_plan(ask, self.voice, limit=room, reasoning_tokens=self.options.reasoning_tokens)
        return Work(request=request, record=record, ask=ask, plan=plan, read=read, entry=entry, kept=kept)

    async def _stream(self, work: Work) -> web.StreamResponse:
        headers = {**self.dialect.headers, "Content-Type": self.dialect.stream_type, "Cache-Control": "no-cache"}
        torn = work.entry is not None and work.entry.fault.kind is FaultKind.TORN_UTF8
        out = Out(work.request, headers, torn=torn, tolerant=work.kept)
        if self.dialect.early_headers:
            await out.open()
        async with self._seat(work) as reply:
            frames = Frames(self.dialect, reply)
            await out.open()
            await out.write(frames.opening())
            whole = await self._generate(work, frames, out)
        await self.conduct.moving()
        if whole:
            await out.write(frames.closing())
            work.record.finish = work.plan.finish
        await out.end()
        return out.response

    async def _whole(self, work: Work) -> web.StreamResponse:
        async with self._seat(work) as reply:
            await self._generate(work, None, None)
        await self.conduct.moving()
        answer = await self.strikes.deliver(work.entry, work.request, msgspec.json.encode(self.dialect.whole(reply)))
        work.record.finish = work.plan.finish
        return answer

    @asynccontextmanager
    async def _seat(self, work: Work) -> AsyncIterator[Reply]:
        """Wait for a slot, read the prompt, and hold the slot; what was said stays in the prefix cache."""
        async with self.slots.seat():
            reply = await self._read(work)
            try:
                yield reply
            finally:
                spoken = [*work.read, *work.plan.spoken[: work.record.generated]]
                self.cache.store(spoken)

    async def _read(self, work: Work) -> Reply:
        """The prefill: what the prefix cache holds takes no time."""
        record = work.record
        record.cached_tokens = self.cache.match(work.read)
        wait_s = self.conduct.timing.prefill_s(record.prompt_tokens - record.cached_tokens, self.slots.running)
        slow = work.entry is not None and work.entry.fault.kind is FaultKind.SLOW_START
        self.stats.prefill_s += wait_s
        wait_s += work.entry.fault.delay_s if slow and work.entry is not None else 0.0
        if wait_s:
            await asyncio.sleep(wait_s)
        await self.conduct.moving()
        self.stats.prompt_tokens += record.prompt_tokens
        record.first_token_at = self.clock()
        return self._reply(work)

    def _reply(self, work: Work) -> Reply:
        ground = f"{self.options.seed}/{self.options.model}/{work.record.number}".encode()
        unique = hashlib.blake2b(ground, digest_size=16).hexdigest()
        return Reply(
            id=self.dialect.answer_id(work.ask.kind, unique),
            created=self.options.created,
            model=work.ask.model,
            ask=work.ask,
            plan=work.plan,
            prompt_tokens=work.record.prompt_tokens,
            cached_tokens=work.record.cached_tokens,
        )

    async def _generate(self, work: Work, frames: Frames | None, out: Out | None) -> bool:
        whole = await self.generation.speak(work, frames, out)
        if whole:
            self.stats.decode_s += self.clock() - (work.record.first_token_at or 0.0)
        return whole

    async def _embed(self, body: Mapping[str, Any], record: Record) -> web.StreamResponse:
        if not self.dialect.serves_embeddings():
            raise self.dialect.no_embeddings()
        self.dialect.check(Kind.EMBEDDINGS, body)
        texts = texts_of(body.get("input"), field="input")
        record.prompt_tokens = sum(count_tokens(text) for text in texts)
        async with self.slots.seat():
            await asyncio.sleep(self.conduct.timing.prefill_s(record.prompt_tokens, self.slots.running))
        self.stats.prompt_tokens += record.prompt_tokens
        packed = body.get("encoding_format") == "base64"
        model = str(body.get("model") or self.options.model)
        return web.json_response(
            body=msgspec.json.encode(embeddings_body(texts, seed=self.options.seed, model=model, packed=packed)),
            headers=self.dialect.headers,
        )


def page_response(page: Page, headers: Mapping[str, str]) -> web.Response:
    """A page as aiohttp answers it."""
    more = {**headers, "Content-Type": page.content_type} if page.body else headers
    return web.Response(body=page.body, status=page.status, headers=more)


def _facts(request: web.Request, body: Mapping[str, Any], raw: bytes) -> Facts:
    return Facts(
        path=request.path,
        inference=True,
        headers=request.headers,
        model=body.get("model"),
        stream=bool(body.get("stream")),
        text=raw.decode("utf-8", "replace"),
    )
