"""A pipeline with everything it needs, and a client that remembers what it got."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry

from citadel_edge.accounts.ledger.event import UsageEvent
from citadel_edge.accounts.principal import Principal, Role
from citadel_edge.completions.pipeline import Call, ClientGone, Pipeline, Report
from citadel_edge.completions.request import Kind, parse
from citadel_edge.config.live import Live
from citadel_edge.config.shape import (
    Config,
    DeploymentConfig,
    Engine,
    ListenerName,
    ModelConfig,
    PriceConfig,
    RoutingConfig,
    Secret,
    TimeoutsConfig,
    UpstreamConfig,
)
from citadel_edge.errors import RequestError
from citadel_edge.fleet.client import UpstreamClient
from citadel_edge.fleet.fleet import Fleet
from citadel_edge.routing.decision import Decision
from citadel_edge.telemetry.hub import Hub
from completions.scripted import Answer, Upstream, in_turn

PRINCIPAL = Principal(
    organisation_id="org_1", user_id="usr_1", key_id="key_1", name="ada", role=Role.USER, tier="free", models=("*",)
)
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


@dataclass
class Client:
    """A sink that remembers. `gate` set to an event makes every write wait for it; `gone` breaks them."""

    status: int | None = None
    content_type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    parts: list[bytes] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    finished: int = 0
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    wrote: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event | None = None
    gone: bool = False
    before_write: Callable[[bytes], None] | None = None

    @property
    def text(self) -> bytes:
        return b"".join(self.parts)

    @property
    def events(self) -> list[Any]:
        """What a client of SSE reads: JSON of each event, `[DONE]` as a string."""
        data = [block.removeprefix(b"data: ") for block in self.text.replace(b": ping\n", b"").split(b"\n\n") if block]
        return [one.decode() if one == b"[DONE]" else json.loads(one) for one in data]

    async def begin(self, status: int, content_type: str, headers: Mapping[str, str]) -> None:
        await asyncio.sleep(0)
        assert self.status is None, "begun twice"
        self.status, self.content_type, self.headers = status, content_type, dict(headers)
        self.begun.set()

    async def write(self, data: bytes) -> None:
        await asyncio.sleep(0)
        assert self.status is not None, "write before begin"
        assert not self.finished, "write after finish"
        if self.before_write:
            self.before_write(data)
        if self.gone:
            raise ClientGone("gone")
        self.parts.append(data)
        self.times.append(asyncio.get_running_loop().time())
        self.wrote.set()
        if self.gate:
            await self.gate.wait()

    async def finish(self) -> None:
        await asyncio.sleep(0)
        self.finished += 1


@dataclass
class Ledger:
    """Rows in a list. `full` refuses new work."""

    rows: list[UsageEvent] = field(default_factory=list)
    full: RequestError | None = None

    def check_room(self) -> None:
        if self.full:
            raise self.full

    def record(self, event: UsageEvent) -> None:
        self.rows.append(event)

    def record_denial(self, denial: UsageEvent, *, limit: str) -> None:  # noqa: ARG002 - the protocol's
        self.rows.append(denial)


@dataclass
class Lines:
    """A log in a list."""

    lines: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    def info(self, event: str, /, **fields: object) -> None:
        self.lines.append((event, fields))

    warning = info


@dataclass
class Bench:
    """The parts of one test."""

    config: Live[Config]
    fleet: Fleet
    client: UpstreamClient
    pipeline: Pipeline
    ledger: Ledger
    hub: Hub
    registry: CollectorRegistry
    upstreams: list[Upstream]
    reports: list[Report] = field(default_factory=list)

    def call(self, body: Mapping[str, Any] | None = None, *, kind: Kind = Kind.CHAT, **changes: Any) -> Call:
        request = parse(json.dumps({**CHAT, **(body or {})} if kind is Kind.CHAT else body).encode(), kind)
        asked: dict[str, Any] = {
            "request": request,
            "principal": PRINCIPAL,
            "listener": ListenerName.ROUTING,
            "endpoint": kind.path,
            "request_id": "req_1",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "on_end": self.reports.append,
        }
        return Call(**{**asked, **changes})

    async def whole(self, body: Mapping[str, Any] | None = None, **changes: Any) -> Client:
        client = Client()
        await self.pipeline.run(self.call(body, **changes), client)
        return client

    async def stream(self, body: Mapping[str, Any] | None = None, **changes: Any) -> Client:
        client = Client()
        await self.pipeline.run(self.call({"stream": True, **(body or {})}, **changes), client)
        return client

    @property
    def row(self) -> UsageEvent:
        """The one row; there is exactly one."""
        assert len(self.ledger.rows) == 1, self.ledger.rows
        assert len(self.reports) == 1
        return self.ledger.rows[0]

    def in_flight(self) -> int:
        return sum(row.in_flight for row in self.fleet.table.everywhere())

    def waiting(self) -> int:
        return self.pipeline._placing._waits._waiting

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    @property
    def decision(self) -> Decision:
        """The last one."""
        return next(self.pipeline.decisions.newest_first())

    @property
    def marks(self) -> list[tuple[str, str]]:
        """Why each call of the last request was made and how it ended, in the order of their ends."""
        return [(one.mark.value, one.outcome) for one in self.decision.attempts]

    def in_order(self, *answers: Answer) -> None:
        """From now on: the first answer to the next call, whichever replica it goes to, and so on."""
        shared = in_turn(*answers)
        for upstream in self.upstreams:
            upstream.seen.clear()
            upstream.arrived.clear()
            upstream.cut.clear()
            upstream.answer = shared

    def upstream(self, mark: str) -> Upstream:
        """The replica of the last request's call of that mark."""
        ids = [one.upstream for one in self.decision.attempts if one.mark.value == mark]
        return next(one for one in self.upstreams if one.id == ids[-1])


@dataclass(frozen=True)
class Address:
    """A model server that somebody else runs."""

    id: str
    url: str


OpenBench = Callable[..., Awaitable[Bench]]


def model(name: str, *upstreams: str, usd: float = 1.0, **changes: Any) -> ModelConfig:
    """A model on these replicas; `usd`: a million tokens of its prompts, half of what those of its answers cost."""
    return ModelConfig(
        name=name,
        deployments=tuple(DeploymentConfig(upstream=one, model=f"engine/{one}") for one in upstreams),
        price=PriceConfig(input_per_mtok_usd=usd, output_per_mtok_usd=2 * usd),
        **changes,
    )


def make_config(
    upstreams: Iterable[Upstream | Address],
    *,
    engine: Engine = Engine.VLLM,
    slots: int | None = None,
    gpu_hour_usd: float | None = None,
    models: tuple[ModelConfig, ...] | None = None,
    **routing: Any,
) -> Config:
    """One model `m` on all of them, unless `models` says otherwise."""
    timeouts = {"connect_s": 2.0, "first_token_s": 20.0, "idle_s": 20.0, "total_s": 60.0}
    timeouts |= {name: routing.pop(name) for name in tuple(routing) if name in timeouts}
    routing.setdefault("capacity_wait_s", 0.0)
    upstreams = list(upstreams)
    return Config(
        upstreams=tuple(
            UpstreamConfig(
                id=one.id,
                url=one.url,
                engine=engine,
                api_key=Secret(f"secret-of-{one.id}"),
                slots=slots,
                gpu_hour_usd=gpu_hour_usd,
            )
            for one in upstreams
        ),
        models=models or (model("m", *[one.id for one in upstreams], aliases=("alias",)),),
        routing=RoutingConfig(timeouts=TimeoutsConfig(**timeouts), **routing),
    )
