"""Stream logs on real servers, as instances of one edge: each with a pool, a worker and a memory that is counted."""

import asyncio
import contextlib
import time

import structlog
from msgspec.structs import replace

from citadel_edge.config.shape import RedisConfig, StreamsConfig
from citadel_edge.errors import Code, RequestError
from citadel_edge.storage.redis_pool import RedisPool
from citadel_edge.streams.cursor import Cursor
from citadel_edge.streams.streams import Streams
from citadel_edge.streams.timing import Timing
from citadel_edge.streams.values import OnDisconnect, Origin, Owner, Policy, State, Terminal
from citadel_edge.telemetry.clock import Clock
from servers import short_directory

PATIENT_MS = 2000.0
"""A deadline that only a server that is away runs into, on a busy machine too."""
OWNER = Owner(organisation_id="org_1", user_id="usr_1", key_id="key_1")
FINISH = Policy(on_disconnect=OnDisconnect.FINISH)
DONE = Terminal(outcome=State.DONE, usage={"total_tokens": 3}, cost_usd=0.25, attempts=1)
STEADY = Timing(lease_s=20.0, tend_s=0.2, gap_s=10.0, follow_s=4.0, look_s=0.2, gone_s=1.5, late_s=5.0, away_s=1.5)
"""Nobody is dead, and the log is not late, only because the machine is busy."""
QUICK = replace(STEADY, lease_s=0.5, tend_s=0.1, gap_s=0.45, moment_s=0.25)
"""The dead are missed soon."""


def origin(body=b'{"model": "m"}', **fields):
    return Origin(
        body=body,
        kind="chat",
        listener="streaming-api",
        endpoint="/v1/chat/completions",
        request_id="req_1",
        traceparent="00-1-1-01",
        created_unix_s=1.5,
        **fields,
    )


class Instance:
    """A log as one process has it, and what a test looks at. `held`: what its streams hold in memory."""

    def __init__(self, streams, pool, worker):
        self.streams = streams
        self.pool = pool
        self.worker = worker
        self.held = 0
        self.most_held = 1 << 40

    def hold(self, n_bytes):
        if n_bytes > 0 and self.held + n_bytes > self.most_held:
            raise RequestError(Code.OVERLOADED, "no room")
        self.held += n_bytes
        assert self.held >= 0

    async def start(self, policy=FINISH, body=b'{"model": "m"}', **fields):
        """A stream of its own."""
        created = await self.streams.create(origin(body), OWNER, policy, hold=self.hold, **fields)
        return created.live

    async def say(self, live, first, last, pause_s=0.0):
        """Append the events of these numbers; each says its own."""
        for seq in range(first, last + 1):
            assert live.append(event(seq)) == seq
            if pause_s:
                await asyncio.sleep(pause_s)

    async def read(self, stream, after=None):
        """All there is, to the end."""
        with await self.streams.open(stream, after) as opened:
            return Told(opened.recovery, [batch async for batch in opened.reader])

    async def until_stored(self, live):
        """Return when the log has everything."""
        await live.stored()
        await until(lambda: live.durable)


class Told:
    """What a reader got."""

    def __init__(self, recovery, batches):
        self.recovery = recovery
        self.batches = batches

    @property
    def payloads(self):
        return [payload for batch in self.batches for payload in batch.payloads]

    @property
    def seqs(self):
        return [seq for batch in self.batches for seq in range(batch.first, batch.last + 1)]

    @property
    def epochs(self):
        return {batch.epoch for batch in self.batches if batch.payloads}

    @property
    def lost(self):
        return [batch.lost for batch in self.batches if batch.lost]

    @property
    def terminal(self):
        return self.batches[-1].terminal


def event(seq, by="a"):
    return b'{"%b":%d}' % (by.encode(), seq)


def events(first, last, by="a"):
    return [event(seq, by) for seq in range(first, last + 1)]


@contextlib.asynccontextmanager
async def instance(
    url, *, worker=True, deadline_ms=PATIENT_MS, retention_s=60.0, max_bytes=8 * 2**20, on_orphan=None, timing=STEADY
):
    """One that shares its log with all others at this URL. `worker`: it renews, follows and takes over."""
    clock, log = Clock(), structlog.get_logger()
    settings = StreamsConfig(retention_s=retention_s, max_bytes=max_bytes)
    config = RedisConfig(url=url, deadline_ms=deadline_ms)
    async with RedisPool.open(config, clock=clock, log=log) as pool, asyncio.TaskGroup() as group:
        one = Instance(None, pool, None)
        one.streams = Streams(
            pool,
            lambda: settings,
            group=group,
            clock=clock,
            log=log,
            hold=one.hold,
            on_orphan=on_orphan,
            timing=timing,
        )
        if worker:
            one.worker = group.create_task(one.streams.run())
        try:
            yield one
        finally:
            if one.worker is not None:
                one.worker.cancel()


class Line:
    """One process's way to the server, which can be cut without the server's noticing anything else."""

    def __init__(self, target):
        self._target = target
        self._cut = False
        self._open = set()

    def cut(self):
        """What is on its way is lost, and there is no way."""
        self._cut = True
        for writer in self._open:
            writer.transport.abort()

    def mend(self):
        self._cut = False

    async def carry(self, reader, writer):
        if self._cut:
            writer.close()
            return
        there, back = await asyncio.open_unix_connection(self._target)
        self._open |= {writer, back}
        try:
            await asyncio.gather(_pump(reader, back), _pump(there, writer))
        finally:
            self._open -= {writer, back}


async def _pump(reader, writer):
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def line_to(url):
    """A way of one's own to a server at a Unix socket; answers it and its URL."""
    with short_directory() as directory:
        path = directory / "line.sock"
        line = Line(url.removeprefix("unix://"))
        server = await asyncio.start_unix_server(line.carry, path)
        try:
            yield line, f"unix://{path}"
        finally:
            server.close()
            line.cut()
            await until(lambda: not line._open)


def cursor(live, seq):
    return Cursor(live.feed.epoch, seq)


async def until(true, within_s=10.0):
    """Wait for something that another task brings about."""
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, "it never came true"
        await asyncio.sleep(0.005)
