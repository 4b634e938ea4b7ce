"""Simulated model servers: how long they take, by what is there already. What a router sees of them is calls and time.

`Slots` serves a fixed number at once and queues the rest, first come first served. `Flat` takes a drawn time, whatever
the load. `Batching` is a continuous batch: each step decodes one token of every sequence and prefills a chunk of the
oldest prompt, so that prompts slow answers down and answers slow prompts down; prefixes that it has seen cost nothing.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from random import Random

from benchmarks.balancer.events import World


@dataclass(slots=True, eq=False)
class Work:
    """One request. `seconds` is its length for the engines that know no tokens; `prefix` are its blocks' hashes."""

    arrived_at: float
    seconds: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    expected_out: int = 0
    stream: bool = False
    session: str | None = None
    prefix: tuple[int, ...] = ()
    first_token: Callable[["Call"], None] | None = None


@dataclass(slots=True, eq=False)
class Call:
    """Work under way on one engine. `ended(call, ok)` is called once."""

    work: Work
    ended: Callable[["Call", bool], None]
    first_token: Callable[["Call"], None] | None = None
    uncached: int = 0


class Engine:
    """What all of them have: a pace (1 is as drawn, 10 is ten times as long), and ways to fail."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.pace = 1.0
        self.frozen = False
        self.fails = False
        self.served = 0
        self._held: list[tuple[Callable[..., None], tuple[object, ...]]] = []

    def submit(self, call: Call) -> None:
        """Take work. A failing engine answers an error after a millisecond."""
        if self.fails:
            self.world.after(0.001, call.ended, call, False)
        else:
            self.begin(call)

    def begin(self, call: Call) -> None:
        raise NotImplementedError

    def later(self, seconds: float, what: Callable[..., None], *args: object) -> None:
        """As the world's `after`, but a frozen engine's time stands still until it thaws."""
        self.world.after(seconds * self.pace, self._unless_frozen, what, args)

    def _unless_frozen(self, what: Callable[..., None], args: tuple[object, ...]) -> None:
        if self.frozen:
            self._held.append((what, args))
        else:
            what(*args)

    def freeze(self) -> None:
        self.frozen = True

    def thaw(self) -> None:
        self.frozen = False
        held, self._held = self._held, []
        for what, args in held:
            what(*args)

    def finish(self, call: Call) -> None:
        self.served += 1
        call.ended(call, True)


class Slots(Engine):
    """`slots` at once, the others wait."""

    def __init__(self, world: World, slots: int) -> None:
        super().__init__(world)
        self._free = slots
        self._queue: deque[Call] = deque()

    def begin(self, call: Call) -> None:
        if self._free:
            self._free -= 1
            self.later(call.work.seconds, self._done, call)
        else:
            self._queue.append(call)

    def _done(self, call: Call) -> None:
        if self._queue:
            following = self._queue.popleft()
            self.later(following.work.seconds, self._done, following)
        else:
            self._free += 1
        self.finish(call)


class Flat(Engine):
    """Any number at once, each takes its own time. `warming_s`: how long its first calls take longer, up to tenfold."""

    def __init__(self, world: World, warming_s: float = 0.0) -> None:
        super().__init__(world)
        self._warming_s = warming_s

    def begin(self, call: Call) -> None:
        left = 1.0 - self.world.now / self._warming_s if self._warming_s else 0.0
        self.later(call.work.seconds * (1.0 + 9.0 * max(0.0, left)), self.finish, call)


@dataclass(frozen=True, slots=True)
class Hardware:
    """A step takes `step_s`, and more a sequence and a prefilled token. Defaults: a mid-size model on one GPU."""

    step_s: float = 0.014
    sequence_s: float = 0.0003
    prefill_s: float = 0.00012
    chunk: int = 512
    sequences: int = 64
    cached_blocks: int = 4000
    block_tokens: int = 16


@dataclass(slots=True)
class Prompt:
    """A prompt being prefilled."""

    call: Call
    left: int = field(default=0)


class Batching(Engine):
    """A continuous batch; time moves in steps while there is work."""

    def __init__(self, world: World, hardware: Hardware | None = None) -> None:
        super().__init__(world)
        self.hardware = hardware or Hardware()
        self._prompts: deque[Prompt] = deque()
        self._running: list[tuple[int, int, Call]] = []
        self._step = 0
        self._entered = 0
        self._stepping = False
        self._cache: OrderedDict[int, None] = OrderedDict()

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._prompts)

    def begin(self, call: Call) -> None:
        cached = self._cached(call.work.prefix) * self.hardware.block_tokens
        call.uncached = max(1, call.work.tokens_in - cached)
        self._prompts.append(Prompt(call, call.uncached))
        if not self._stepping:
            self._stepping = True
            self._go()

    def _cached(self, prefix: tuple[int, ...]) -> int:
        length = 0
        for block in prefix:
            if block not in self._cache:
                break
            self._cache.move_to_end(block)
            length += 1
        return length

    def _remember(self, prefix: tuple[int, ...]) -> None:
        for block in prefix:
            self._cache[block] = None
            self._cache.move_to_end(block)
        while len(self._cache) > self.hardware.cached_blocks:
            self._cache.popitem(last=False)

    def _go(self) -> None:
        """Plan one step: tokens of the oldest prompts, up to a chunk, while there are sequences left for them."""
        hardware, chunk, ready = self.hardware, self.hardware.chunk, 0
        room = hardware.sequences - len(self._running)
        for prompt in self._prompts:
            if not chunk or ready >= room:
                break
            part = min(chunk, prompt.left)
            prompt.left -= part
            chunk -= part
            ready += not prompt.left
        prefilled = hardware.chunk - chunk
        seconds = hardware.step_s + hardware.sequence_s * len(self._running) + hardware.prefill_s * prefilled
        self.later(seconds, self._stepped)

    def _stepped(self) -> None:
        self._step += 1
        while self._running and self._running[0][0] <= self._step:
            self.finish(heappop(self._running)[2])
        while self._prompts and not self._prompts[0].left:
            self._join(self._prompts.popleft().call)
        self._stepping = bool(self._running or self._prompts)
        if self._stepping:
            self._go()

    def _join(self, call: Call) -> None:
        self._remember(call.work.prefix)
        if call.first_token:
            call.first_token(call)
        self._entered += 1
        heappush(self._running, (self._step + call.work.tokens_out - 1, self._entered, call))


def exponential(rng: Random, mean_s: float) -> float:
    return rng.expovariate(1.0 / mean_s)


def lognormal(rng: Random, mean: float, sigma: float) -> float:
    """Drawn with the given mean; sigma is the spread of the logarithm."""
    return mean * rng.lognormvariate(-sigma * sigma / 2, sigma)
