"""What is simulated: fleets, traffic and mishaps. Each run is one strategy in one scenario, the same seed for all."""

# ruff: noqa: FBT001 - what is told of an ended call is one flag

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random

from benchmarks.balancer.engines import Batching, Engine, Flat, Slots, Work, exponential, lognormal
from benchmarks.balancer.events import World
from benchmarks.balancer.results import Results
from benchmarks.balancer.router import Router
from citadel_edge.config.shape import StrategyName
from citadel_edge.fleet.gauges import Reading

SEED = 20_240_917
SLOTS = 64
PROBE_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """`build` fills a world for a strategy; `seconds` of virtual time, of which those after `since` count."""

    name: str
    build: Callable[["Run"], None]
    seconds: float
    since: float
    quick: bool = False
    timeout_s: float | None = None
    streams: bool = False


class Run:
    """One strategy in one scenario."""

    def __init__(self, scenario: Scenario, strategy: StrategyName, *, share: float = 1.0) -> None:
        self.scenario = scenario
        self.strategy = strategy
        self.seconds = scenario.since + (scenario.seconds - scenario.since) * share
        self.world = World()
        self.rng = Random(SEED)
        self.results = Results(scenario.since)
        self.engines: Sequence[Engine] = ()
        self.router: Router | None = None

    def go(self) -> Results:
        self.scenario.build(self)
        self.world.run(self.seconds)
        return self.results

    def fleet(self, engines: Sequence[Engine], *, slots: int = 1_000_000, retries: int = 0) -> Router:
        self.engines = engines
        self.router = Router(
            self.world, engines, self.strategy, results=self.results, slots=slots, retries=retries, seed=SEED
        )
        return self.router

    def open_loop(self, rate: float, draw: Callable[[], Work]) -> None:
        """Requests arrive by chance, so many a second, whatever the fleet does."""

        def arrive() -> None:
            self.world.after(exponential(self.rng, 1.0 / rate), arrive)
            self.send(draw())

        self.world.after(exponential(self.rng, 1.0 / rate), arrive)

    def closed_loop(self, clients: int, draw: Callable[[], Work]) -> None:
        """Each client asks again as soon as it is answered."""

        def again(work: Work, ok: bool) -> None:
            self.ended(work, ok)
            self.send(draw(), again)

        for _ in range(clients):
            self.send(draw(), again)

    def send(self, work: Work, done: Callable[[Work, bool], None] | None = None) -> None:
        assert self.router is not None
        self.router.send(work, done or self.ended)

    def ended(self, work: Work, ok: bool) -> None:
        limit = self.scenario.timeout_s
        in_time = limit is None or self.world.now - work.arrived_at <= limit
        self.results.ended(work, self.world.now, ok=ok and in_time)

    def seconds_of(self, draw: Callable[[], float]) -> Callable[[], Work]:
        return lambda: Work(self.world.now, seconds=draw())


def heterogeneous(load: float) -> Callable[[Run], None]:
    """20 replicas of 4 slots, 30 % of them three times slower; the unit is the mean service time on a fast one."""

    def build(run: Run) -> None:
        engines = [Slots(run.world, 4) for _ in range(20)]
        for engine in engines[:6]:
            engine.pace = 3.0
        run.fleet(engines)
        run.open_loop(load * (14 * 4 + 6 * 4 / 3), run.seconds_of(lambda: exponential(run.rng, 1.0)))

    return build


def finagle(mishap: Callable[[Run], None] | None = None, *, cold: bool = False) -> Callable[[Run], None]:
    """1250 requests a second over 10 backends; latencies as of a service with a tail: most 5 to 20 ms, some 100."""

    def build(run: Run) -> None:
        engines = [Flat(run.world, warming_s=10.0 if cold and index == 0 else 0.0) for index in range(10)]
        run.fleet(engines, retries=0)
        run.open_loop(1250.0, run.seconds_of(lambda: _service_s(run.rng)))
        if mishap is not None:
            mishap(run)

    return build


def _service_s(rng: Random) -> float:
    return 0.1 if rng.random() < 0.005 else lognormal(rng, 0.012, 0.5)


def one_slow(run: Run) -> None:
    """One is ten times slower for as long as the run lasts."""
    run.world.after(5.0, setattr, run.engines[3], "pace", 10.0)


def one_fails_a_while(run: Run) -> None:
    """One answers errors at once for 15 s: the trap for whoever counts requests in flight."""
    run.world.after(5.0, setattr, run.engines[3], "fails", True)
    run.world.after(20.0, setattr, run.engines[3], "fails", False)


def one_fails(run: Run) -> None:
    run.world.after(5.0, setattr, run.engines[3], "fails", True)


def one_stalls(run: Run) -> None:
    """Linkerd's: one takes two seconds where the clients wait for one."""
    run.world.after(2.0, setattr, run.engines[3], "pace", 150.0)


def slow_among_six(run: Run) -> None:
    """50 clients without pause on 6 equal replicas, whose latency hardly grows with load; one ten times slow."""
    run.fleet([Flat(run.world) for _ in range(6)], slots=SLOTS)
    run.closed_loop(50, run.seconds_of(lambda: lognormal(run.rng, 0.1, 0.1)))
    run.world.after(5.0, setattr, run.engines[0], "pace", 10.0)


def frozen_among_six(run: Run) -> None:
    """As before, and one stands still from 5 s to 12 s: its calls are lost to it until probes find it after 2 s."""
    router = run.fleet([Flat(run.world) for _ in range(6)], slots=SLOTS, retries=2)
    run.closed_loop(50, run.seconds_of(lambda: lognormal(run.rng, 0.1, 0.1)))
    freeze(run, router, 0, at=5.0, lasts=7.0)


def freeze(run: Run, router: Router, which: int, *, at: float, lasts: float) -> None:
    run.world.after(at, run.engines[which].freeze)
    run.world.after(at + 2 * PROBE_S, router.probes_fail, which)
    run.world.after(at + lasts, run.engines[which].thaw)
    run.world.after(at + lasts + PROBE_S, router.probes_succeed, which)


def mixed(
    rate: float = 36.0, mishap: Callable[[Run, Router], None] | None = None, *, stream: bool = True
) -> Callable[[Run], None]:
    """Prompts and answers of all lengths on six engines that batch."""

    def build(run: Run) -> None:
        router = run.fleet([Batching(run.world) for _ in range(6)], slots=SLOTS, retries=2)
        run.open_loop(rate, lambda: _mixed_work(run, stream=stream))
        if mishap is not None:
            mishap(run, router)

    return build


def _mixed_work(run: Run, *, stream: bool) -> Work:
    rng = run.rng
    tokens_in, tokens_out = max(8, int(lognormal(rng, 600, 1.0))), max(2, int(lognormal(rng, 150, 0.8)))
    return Work(run.world.now, tokens_in=tokens_in, tokens_out=tokens_out, expected_out=150, stream=stream)


def slow_engine(run: Run, router: Router) -> None:  # noqa: ARG001 - one shape for all mishaps
    run.world.after(20.0, setattr, run.engines[0], "pace", 10.0)


def frozen_engine(run: Run, router: Router) -> None:
    freeze(run, router, 0, at=20.0, lasts=15.0)


def wrong_gauges(run: Run, router: Router) -> None:
    """All gauges are read every second; one is stuck at a full cache, another at nothing at all."""
    rows = list(router.table.rows.values())

    def read() -> None:
        now = run.world.now
        for index, (row, engine) in enumerate(zip(rows, run.engines, strict=True)):
            with suppress(AttributeError):
                reading = Reading(engine.running, engine.waiting, engine.running / SLOTS)  # type: ignore[attr-defined]
                wrong = {0: Reading(60, 20, 0.99), 1: Reading(0, 0, 0.0)}
                row.gauges.read(wrong.get(index, reading), now=now, own_in_flight=row.in_flight)
        run.world.after(PROBE_S, read)

    read()


def chat(run: Run) -> None:
    """300 conversations that grow: whoever holds the beginning of one saves its prefill."""
    run.fleet([Batching(run.world) for _ in range(6)], slots=SLOTS)
    talks: dict[int, list[int]] = {}
    run.open_loop(20.0, lambda: _turn(run, talks))


def _turn(run: Run, talks: dict[int, list[int]]) -> Work:
    rng, which = run.rng, run.rng.randrange(300)
    talk = talks.get(which)
    if talk is None or len(talk) > 500:
        talk = talks[which] = list(_blocks(rng, 60))
    tokens_in, tokens_out = len(talk) * 16 + 30, max(2, int(lognormal(rng, 120, 0.6)))
    asked = tuple(talk)
    talk.extend(_blocks(rng, (tokens_out + 30) // 16 + 1))
    return Work(
        run.world.now,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        expected_out=120,
        stream=True,
        session=f"talk {which}",
        prefix=asked,
    )


def _blocks(rng: Random, count: int) -> Iterator[int]:
    return (rng.randrange(2**60) for _ in range(count))


SCENARIOS = (
    Scenario(name="heterogeneous slots, load 0.7", build=heterogeneous(0.7), seconds=600, since=100, quick=True),
    Scenario(name="heterogeneous slots, load 0.9", build=heterogeneous(0.9), seconds=600, since=100, quick=True),
    Scenario(name="Finagle: cold start of one", build=finagle(cold=True), seconds=20, since=0),
    Scenario(name="Finagle: one slow", build=finagle(one_slow), seconds=35, since=7),
    Scenario(name="Finagle: one fails for 15 s", build=finagle(one_fails_a_while), seconds=35, since=5),
    Scenario(name="Finagle: one fails for good", build=finagle(one_fails), seconds=35, since=5),
    Scenario(name="Linkerd: 1 s timeout", build=finagle(one_stalls), seconds=30, since=2, timeout_s=1.0),
    Scenario(name="50 clients, one of six x10 slow", build=slow_among_six, seconds=40, since=7, quick=True),
    Scenario(name="50 clients, one of six frozen", build=frozen_among_six, seconds=40, since=5, quick=True),
    Scenario(name="LLM: mixed lengths", build=mixed(), seconds=180, since=20, quick=True, streams=True),
    Scenario(name="LLM: mixed lengths, whole answers", build=mixed(stream=False), seconds=180, since=20),
    Scenario(name="LLM: one x10 slow", build=mixed(28.0, slow_engine), seconds=180, since=25, streams=True),
    Scenario(name="LLM: one frozen", build=mixed(28.0, frozen_engine), seconds=120, since=20, streams=True),
    Scenario(name="LLM: wrong gauges", build=mixed(30.0, wrong_gauges), seconds=180, since=20, streams=True),
    Scenario(name="LLM: chats with shared prefixes", build=chat, seconds=180, since=40, quick=True, streams=True),
)
