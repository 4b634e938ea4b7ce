"""Whatever happens to servers, lines and processes: a reader has the log's text without holes, or was told of them."""

import asyncio
import contextlib

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from citadel_edge.errors import Code, RequestError
from citadel_edge.streams.timing import Timing
from citadel_edge.streams.values import Recovered
from logs import DONE, instance, line_to

HASTY = Timing(
    lease_s=0.3, tend_s=0.05, gap_s=0.3, moment_s=0.15, follow_s=1.0, look_s=0.05, gone_s=2.0, late_s=0.02, away_s=5.0
)
MOVE_S = 0.03
BOTH = st.integers(0, 1)
WORDS = st.integers(1, 40)
MOVE = st.one_of(
    st.tuples(st.just("say"), WORDS),
    st.tuples(st.just("say_much"), st.integers(1, 3)),
    st.tuples(st.sampled_from(["cut", "mend", "die", "go_away", "come_back"]), BOTH),
    st.tuples(st.sampled_from(["freeze", "thaw", "restart", "forget", "wait"]), st.just(0)),
)


def partition(place, words):
    """A process cannot reach the log, says on what it has to say, and learns late that it is deposed."""
    return ("say", words), ("cut", place), ("say", words), ("wait", 0), ("say", words), ("mend", place)


def unheard(place, words):
    """A process dies with what only its client has heard, who comes back when another has said more."""
    gone = ("cut", place), ("say", words), ("go_away", place), ("die", place), ("mend", place)
    return ("say", words), *gone, ("wait", 0), ("say", words), ("say", words), ("come_back", place)


EPISODE = st.one_of(MOVE.map(lambda move: (move,)), st.builds(partition, BOTH, WORDS), st.builds(unheard, BOTH, WORDS))
MOVES = st.lists(EPISODE, min_size=2, max_size=6).map(lambda episodes: [move for each in episodes for move in each])


class Reader:
    """A client that comes back with its cursor, and believes what it is told."""

    def __init__(self, process):
        self.process = process
        self.cursor = None
        self.believed = {}
        self.missing = set()
        self.over = self.ended_early = False
        self.gone = False
        self.back = asyncio.Event()
        self.here = asyncio.Event()
        self.here.set()

    async def run(self, world):
        while not (self.over or self.gone):
            await self.here.wait()
            self.back.clear()
            reading = asyncio.create_task(self._read(world.processes[self.process]))  # noqa: TID251 - awaited below
            leaving = asyncio.create_task(self.back.wait())  # noqa: TID251 - cancelled below
            await asyncio.wait((reading, leaving), return_when=asyncio.FIRST_COMPLETED)
            for task in (reading, leaving):
                task.cancel()
            try:
                await reading
            except (asyncio.CancelledError, RequestError) as error:
                self.gone = isinstance(error, RequestError) and error.code is Code.NOT_FOUND and world.forgot
                await asyncio.sleep(MOVE_S)

    async def _read(self, process):
        with await process.streams.open(process.stream, self.cursor) as opened:
            if opened.recovery.recovered is Recovered.NONE:
                self.believed, self.missing = {}, set()
            async for batch in opened.reader:
                self._take(batch)

    def _take(self, batch):
        if batch.lost:
            first, last = batch.lost
            self.missing |= set(range(first, last + 1))
            self.believed = {seq: each for seq, each in self.believed.items() if not first <= seq <= last}
        for seq, payload in enumerate(batch.payloads, batch.first):
            assert seq not in self.believed, "an event came twice"
            self.believed[seq] = payload
            self.missing.discard(seq)
        if batch.payloads:
            self.cursor = batch.cursor
        self.over = batch.terminal is not None
        self.ended_early = not batch.durable


class World:
    """A server, two processes that reach it over lines of their own, and one stream."""

    def __init__(self, server, lines, stack):
        self.server = server
        self.lines = lines
        self.processes = [None, None]
        self.said = 0
        self.forgot = False
        self.readers = [Reader(0), Reader(1)]
        self._stack = stack

    async def begin(self, place):
        """A process takes this place, and goes on with whatever it is given."""
        one = await self._stack.enter_async_context(instance(self.lines[place][1], timing=HASTY))
        one.lives = []

        async def go_on(orphan):
            one.lives.append(orphan.live)
            return True

        one.streams.on_orphan = go_on
        one.stream = None if self.processes[place] is None else self.processes[place].stream
        self.processes[place] = one

    async def die(self, place):
        """A process dies as it stands; its clients go to the other, and another takes its place."""
        for reader in self.readers:
            if reader.process == place:
                reader.process = 1 - place
                reader.back.set()
        one = self.processes[place]
        one.worker.cancel()
        for page in list(one.streams._commits.pages.values()):
            one.streams._commits.drop(page.live)
        await self.begin(place)

    def say_much(self, count):
        self.say(count * 40, size=4000)

    def say(self, count, size=0):
        """Whoever believes to produce the stream says something."""
        for one in self.processes:
            for live in one.lives:
                for _ in range(0 if live.terminal or live.deposed else count):
                    self.said += 1
                    live.append(b"%d " % self.said + b"." * size)

    def cut(self, place):
        self.lines[place][0].cut()

    def mend(self, place):
        self.lines[place][0].mend()

    def freeze(self, _):
        self.server.freeze()

    def thaw(self, _):
        self.server.thaw()

    def restart(self, _):
        self.server.stop()
        self.server.start()

    def forget(self, _):
        """But not while two believe to produce the stream: then nobody could say which of them is right."""
        if sum(not live.deposed for one in self.processes for live in one.lives) == 1:
            self.server.thaw()
            self.server.say("FLUSHALL")
            self.forgot = True

    def go_away(self, number):
        """A client is gone for a while."""
        self.readers[number].here.clear()
        self.readers[number].back.set()

    def come_back(self, number):
        """A client comes back, or goes over, to the other process."""
        self.readers[number].process = 1 - self.readers[number].process
        self.readers[number].here.set()
        self.readers[number].back.set()

    async def wait(self, _):
        await asyncio.sleep(2 * HASTY.lease_s)

    async def move(self, name, argument):
        done = getattr(self, name)(argument)
        if done is not None:
            await done
        await asyncio.sleep(MOVE_S)


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(MOVES)
def test_a_reader_has_the_text_without_holes_or_was_told_of_them(valkey_with_file, moves):
    server = valkey_with_file
    server.thaw()
    server.say("FLUSHALL")
    asyncio.run(_live_through(server, moves))


async def _live_through(server, moves):
    async with contextlib.AsyncExitStack() as stack:
        lines = [await stack.enter_async_context(line_to(server.url)) for _ in range(2)]
        world = World(server, lines, stack)
        for place in (0, 1):
            await world.begin(place)
        first = world.processes[0]
        await first.pool.wait_until_up()
        live = await first.start()
        first.lives.append(live)
        for one in world.processes:
            one.stream = live.id
        await live.stored()
        tasks = [asyncio.create_task(reader.run(world)) for reader in world.readers]  # noqa: TID251 - awaited below
        for name, argument in moves:
            await world.move(name, argument)
        truth = await _peace(world)
        if truth is None:
            for task in tasks:
                task.cancel()
            return
        async with asyncio.timeout(20):
            await asyncio.gather(*tasks)
        for reader in world.readers:
            _judge(reader, truth)


async def _peace(world):
    """Everything works again, and the stream ends. The log's text by number; None if the stream was lost."""
    world.server.thaw()
    for line, _ in world.lines:
        line.mend()
    for reader in world.readers:
        reader.here.set()
    async with asyncio.timeout(20), instance(world.server.url, worker=False, timing=HASTY) as judge:
        while True:
            for one in world.processes:
                for live in one.lives:
                    live.end(DONE)
            try:
                async with asyncio.timeout(1.0):
                    told = await judge.read(world.processes[1].stream)
                break
            except TimeoutError:
                continue
            except RequestError as error:
                if error.code is Code.NOT_FOUND:
                    assert world.forgot
                    return None
            await asyncio.sleep(MOVE_S)
    return dict(zip(told.seqs, told.payloads, strict=True))


def _judge(reader, truth):
    if reader.gone:
        return
    assert reader.over
    seqs = sorted(set(reader.believed) | reader.missing)
    assert seqs == list(range(seqs[0], seqs[-1] + 1) if seqs else [])
    if reader.ended_early:
        return  # its producer came to the end while nobody could tell it that it was deposed: that text is whole too
    kept = {seq: payload for seq, payload in reader.believed.items() if seq >= min(truth, default=1)}
    assert {seq: payload for seq, payload in kept.items() if truth.get(seq) != payload} == {}
    assert set(reader.believed) | reader.missing >= set(truth)
