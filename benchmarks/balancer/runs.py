"""One run: a strategy in a scenario with a seed, in virtual time until all its requests have ended."""

# ruff: noqa: FBT001 - what is told of an ended call is one flag

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from random import Random

from benchmarks.balancer.engines import Engine, Work, exponential
from benchmarks.balancer.events import World
from benchmarks.balancer.results import Results
from benchmarks.balancer.router import Router
from citadel_edge.config.shape import StrategyName

LONGEST_S = 1e5


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """`build` fills a world for a strategy; `seconds` of virtual time, of which those after `since` count.

    Attributes:
        windows: or only requests that arrive within these.
        seeds: how many runs a full benchmark takes.
    """

    name: str
    build: Callable[["Run"], None]
    seconds: float
    since: float
    quick: bool = False
    timeout_s: float | None = None
    streams: bool = False
    windows: tuple[tuple[float, float], ...] = ()
    seeds: int = 3


class Run:
    """One strategy in one scenario. The same seed brings all strategies the same requests, as far as they arrive."""

    def __init__(self, scenario: Scenario, strategy: StrategyName, *, seed: int = 1, share: float = 1.0) -> None:
        self.scenario = scenario
        self.strategy = strategy
        self.seconds = scenario.since + (scenario.seconds - scenario.since) * share
        self.world = World()
        self.seed = seed
        self.rng = Random(seed)
        self.results = Results(scenario.windows or ((scenario.since, inf),))
        self.engines: Sequence[Engine] = ()
        self.router: Router | None = None

    @property
    def over(self) -> bool:
        """No more requests arrive."""
        return self.world.now >= self.seconds

    def go(self) -> Results:
        """Let requests arrive, and then all end: whoever leaves work behind is not spared its latency."""
        self.scenario.build(self)
        self.world.run(LONGEST_S)
        return self.results

    def fleet(self, engines: Sequence[Engine], *, slots: int = 1_000_000, retries: int = 0) -> Router:
        self.engines = engines
        self.router = Router(
            self.world, engines, self.strategy, results=self.results, slots=slots, retries=retries, seed=self.seed
        )
        return self.router

    def open_loop(self, rate: float, draw: Callable[[], Work]) -> None:
        """Requests arrive by chance, so many a second, whatever the fleet does."""

        def arrive() -> None:
            if self.over:
                return
            self.world.after(exponential(self.rng, 1.0 / rate), arrive)
            self.send(draw())

        self.world.after(exponential(self.rng, 1.0 / rate), arrive)

    def closed_loop(self, clients: int, draw: Callable[[], Work]) -> None:
        """Each client asks again as soon as it is answered."""

        def again(work: Work, ok: bool) -> None:
            self.ended(work, ok)
            if not self.over:
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
