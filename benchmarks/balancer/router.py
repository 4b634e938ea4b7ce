"""The real table, signals and chooser, driven by simulated calls in virtual time."""

# ruff: noqa: FBT001 - what is told of an ended call is one flag

from collections import deque
from collections.abc import Callable, Sequence
from random import Random

from benchmarks.balancer.engines import Call, Engine, Work
from benchmarks.balancer.events import World
from benchmarks.balancer.results import Results
from citadel_edge.config.shape import Config, DeploymentConfig, ModelConfig, StrategyName, UpstreamConfig
from citadel_edge.fleet.table import Deployment, Table, Ticket, Verdict
from citadel_edge.routing.ask import Ask
from citadel_edge.routing.chooser import Chooser

MODEL = "m"


def fleet(replicas: int, *, slots: int, weights: Sequence[float] = ()) -> Table:
    """A table of healthy rows that serve one model."""
    names = [f"r{index:03d}" for index in range(replicas)]
    given = weights or [1.0] * replicas
    table = Table(
        Config(
            upstreams=tuple(UpstreamConfig(id=name, url=f"http://{name}", slots=slots) for name in names),
            models=(
                ModelConfig(
                    name=MODEL,
                    deployments=tuple(
                        DeploymentConfig(upstream=name, weight=weight)
                        for name, weight in zip(names, given, strict=True)
                    ),
                ),
            ),
        )
    )
    for row in table.rows.values():
        table.probe_succeeded(row, "ok")
    return table


class Router:
    """Sends work where the strategy says, tries failed work elsewhere, keeps work that finds no place."""

    def __init__(
        self,
        world: World,
        engines: Sequence[Engine],
        strategy: StrategyName,
        *,
        results: Results,
        slots: int = 1_000_000,
        instances: int = 1,
        retries: int = 0,
        seed: int = 0,
    ) -> None:
        self.world = world
        self.table = fleet(len(engines), slots=slots)
        self.engines = dict(zip(self.table.rows, engines, strict=True))
        self.strategy = strategy
        self.results = results
        self.instances = instances
        self.retries = retries
        self.deployments: tuple[Deployment, ...] = self.table.deployments(MODEL)
        self._rng = Random(seed)
        self.chooser = Chooser(rng=self._rng.random)
        self._lost: dict[int, Callable[[], None]] = {}
        self._waiting: deque[tuple[Work, Callable[[Work, bool], None], dict[str, bool]]] = deque()

    def send(self, work: Work, done: Callable[[Work, bool], None], tried: dict[str, bool] | None = None) -> None:
        """Choose, take and call, in one moment."""
        ask = Ask(
            tokens_in=work.tokens_in,
            tokens_out=work.expected_out,
            stream=work.stream,
            session=work.session,
            prefix=work.prefix,
        )
        tried = tried or {}
        now = self.world.now
        choice = self.chooser.choose(
            self.deployments, ask, strategy=self.strategy, now=now, tried=tried, instances=self.instances
        )
        if choice.deployment is None:
            self._waiting.append((work, done, tried))
            if choice.waiting.retry_in_s is not None:
                self.world.after(choice.waiting.retry_in_s + 1e-3, self._again)
            return
        deployment = choice.deployment
        ticket = self.table.take(
            deployment,
            now=now,
            tokens_in=choice.new_tokens,
            tokens_out=work.expected_out,
            expected_s=choice.expected_s(stream=work.stream),
            panic=choice.panic,
        )
        self.results.sent(work, deployment.row.id, tries=len(tried))

        def ended(call: Call, ok: bool) -> None:
            self._ended(call, ok, ticket, done, tried)

        call = Call(work, ended, first_token=self._first(ticket, ask))
        self._lost[id(ticket)] = lambda: ended(call, False)
        self.engines[deployment.row.id].submit(call)

    def _first(self, ticket: Ticket, ask: Ask) -> Callable[[Call], None]:
        def first(call: Call) -> None:
            if not ticket.open:
                return
            self.results.first(call.work, self.world.now)
            if call.work.stream:
                self.table.first_token(ticket, now=self.world.now)
            self.chooser.learned(ticket.deployment, ask)

        return first

    def _ended(
        self, call: Call, ok: bool, ticket: Ticket, done: Callable[[Work, bool], None], tried: dict[str, bool]
    ) -> None:
        if not ticket.open:
            return
        self._lost.pop(id(ticket), None)
        work = call.work
        self.table.give_back(
            ticket,
            Verdict.OK if ok else Verdict.FAULT,
            now=self.world.now,
            rng=self._rng.random,
            tokens_out=work.tokens_out if ok else None,
        )
        if ok or len(tried) >= self.retries:
            done(work, ok)
        else:
            self.send(work, done, {**tried, ticket.row.id: False})
        self._again()

    def probes_fail(self, which: int) -> None:
        """The probes found it dead: the calls that have shown nothing yet go elsewhere, as the edge moves them."""
        row = list(self.table.rows.values())[which]
        self.table.probe_failed(row, "no answer", at_once=True)
        for ticket in sorted(row.calls, key=lambda call: call.taken_at):
            if ticket.first_token_at is None:
                self._lost.pop(id(ticket))()

    def probes_succeed(self, which: int) -> None:
        row = list(self.table.rows.values())[which]
        self.table.probe_succeeded(row, "ok", now=self.world.now)

    def _again(self) -> None:
        if self._waiting and any(one.row.available(self.world.now) for one in self.deployments):
            self.send(*self._waiting.popleft())
