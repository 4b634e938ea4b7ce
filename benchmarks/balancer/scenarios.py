"""What is simulated: fleets, traffic and mishaps."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random

from benchmarks.balancer.engines import Batching, Flat, Hardware, Slots, Work, exponential, lognormal
from benchmarks.balancer.router import Router
from benchmarks.balancer.runs import Run, Scenario
from citadel_edge.fleet.gauges import Reading

SLOTS = 64
PROBE_S = 1.0
DEAD_AFTER_S = 2.2
FREEZES = tuple(5.0 + 20.0 * turn for turn in range(6))


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
    """As before, and one after the other stands still. What counts are requests that arrive before a probe shows it."""
    router = run.fleet([Flat(run.world) for _ in range(6)], slots=SLOTS, retries=2)
    run.closed_loop(50, run.seconds_of(lambda: lognormal(run.rng, 0.1, 0.1)))
    freeze_each(run, router)


def freeze_each(run: Run, router: Router) -> None:
    """One after the other stands still for seven seconds.

    Its calls hang until the probes find it dead; then those that have shown nothing are made elsewhere.
    """
    for which, at in enumerate(FREEZES):
        run.world.after(at, run.engines[which].freeze)
        run.world.after(at + DEAD_AFTER_S, router.probes_fail, which)
        run.world.after(at + 7.0, run.engines[which].thaw)
        run.world.after(at + 7.0 + PROBE_S, router.probes_succeed, which)


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
        if not run.over:
            run.world.after(PROBE_S, read)

    read()


def chat(talks: int, rate: float, cached_blocks: int) -> Callable[[Run], None]:
    """Conversations that grow to 500 blocks and then begin anew: whoever holds one's beginning saves its prefill."""

    def build(run: Run) -> None:
        hardware = Hardware(cached_blocks=cached_blocks)
        run.fleet([Batching(run.world, hardware) for _ in range(6)], slots=SLOTS)
        said = [list(_blocks(run.rng, run.rng.randrange(60, 500))) for _ in range(talks)]
        run.open_loop(rate, lambda: _turn(run, said))

    return build


def _turn(run: Run, talks: list[list[int]]) -> Work:
    rng, which = run.rng, run.rng.randrange(len(talks))
    talk = talks[which]
    if len(talk) > 500:
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


FROZEN = tuple((at, at + DEAD_AFTER_S) for at in FREEZES)
SCENARIOS = (
    Scenario(name="heterogeneous slots, load 0.7", build=heterogeneous(0.7), seconds=500, since=100, quick=True),
    Scenario(name="heterogeneous slots, load 0.9", build=heterogeneous(0.9), seconds=500, since=100, quick=True),
    Scenario(name="Finagle: cold start of one", build=finagle(cold=True), seconds=20, since=0),
    Scenario(name="Finagle: one slow", build=finagle(one_slow), seconds=30, since=7),
    Scenario(name="Finagle: one fails for 15 s", build=finagle(one_fails_a_while), seconds=30, since=5),
    Scenario(name="Finagle: one fails for good", build=finagle(one_fails), seconds=20, since=5),
    Scenario(name="Linkerd: 1 s timeout", build=finagle(one_stalls), seconds=30, since=2, timeout_s=1.0),
    Scenario(name="50 clients, one of six x10 slow", build=slow_among_six, seconds=40, since=7, quick=True),
    Scenario(
        name="50 clients, one of six frozen",
        build=frozen_among_six,
        seconds=FREEZES[-1] + 10,
        since=0,
        quick=True,
        windows=FROZEN,
    ),
    Scenario(name="LLM: mixed lengths", build=mixed(), seconds=180, since=20, quick=True, streams=True, seeds=6),
    Scenario(name="LLM: mixed lengths, whole answers", build=mixed(stream=False), seconds=180, since=20, seeds=6),
    Scenario(name="LLM: one x10 slow", build=mixed(28.0, slow_engine), seconds=180, since=25, streams=True, seeds=6),
    Scenario(
        name="LLM: one frozen",
        build=mixed(28.0, freeze_each),
        seconds=FREEZES[-1] + 20,
        since=0,
        quick=True,
        streams=True,
        windows=FROZEN,
        seeds=6,
    ),
    Scenario(name="LLM: wrong gauges", build=mixed(30.0, wrong_gauges), seconds=180, since=20, streams=True, seeds=6),
    Scenario(
        name="LLM: chats with shared prefixes",
        build=chat(150, 12.0, 12_500),
        seconds=240,
        since=60,
        quick=True,
        streams=True,
        seeds=6,
    ),
    Scenario(
        name="LLM: chats, caches far too small",
        build=chat(300, 5.0, 4_000),
        seconds=240,
        since=60,
        streams=True,
        seeds=6,
    ),
)
