"""Subscriptions to live state: what the hub publishes, filtered for its reader.

A message is made once, by whoever reads it first, and shared; a reader adds only its place and what it missed. Users
hear what bears their own id, operators everything. An iterator holds nothing before it is first asked, and gives
everything back when it is closed. Live state has no end of its own: what ends it is the process, and that is told as
LISTENER_STOPPED, so that nobody takes it for all there was.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

from msgspec import Struct

from citadel_edge.accounts.principal import Principal, Role
from citadel_edge.config.shape import ListenerName
from citadel_edge.errors import Code, RequestError
from citadel_edge.listeners.common.live_places import Place, parse_interval, place
from citadel_edge.listeners.graphql.binding import Resolver, Type
from citadel_edge.listeners.graphql.resolvers.accounts import of_type
from citadel_edge.listeners.graphql.resolvers.health import listener_row
from citadel_edge.listeners.graphql.resolvers.ids import global_id, plain_id
from citadel_edge.listeners.graphql.resolvers.told import Info
from citadel_edge.streams.metrics import Resumed
from citadel_edge.telemetry.hub import Batch, Hub, Message, Topic

MOST_RECENT: Final = 256
Payload = Mapping[str, Any]
Wanted = Callable[[Principal, Payload], bool]


class Gap(Struct, frozen=True):
    """What is missing before an event."""

    count: int | None
    reason: str


class Happened(Struct, frozen=True):
    """One event as one reader sees it."""

    cursor: str
    at: float
    gap: Gap | None
    payload: Payload


def heard(topic: Topic, wanted: Wanted) -> Resolver:
    """The subscription to a topic, of what its reader wants and may hear."""

    def subscribe(_: None, info: Info, *, after: str | None = None, recent: int | None = 0) -> AsyncIterator[Happened]:
        context = info.context
        return _events(
            context.edge.hub, topic, _begins(context.edge.hub, topic, after, recent), context.principal, wanted
        )

    return subscribe


def upstream_health(
    _: None, info: Info, *, upstream: str | None = None, after: str | None = None, recent: int | None = 0
) -> AsyncIterator[Happened]:
    """Of all replicas or of one. Raises RequestError NOT_FOUND where the fleet has no such one."""
    edge = info.context.edge
    only, hub = None if upstream is None else plain_id("Upstream", upstream), edge.hub
    if only is not None and only not in edge.fleet.table.rows:
        raise RequestError(Code.NOT_FOUND, f"there is no upstream {only[:80]!r}", param="upstream")

    def wanted(_: Principal, payload: Payload) -> bool:
        return "upstream" in payload and only in (None, payload["upstream"])

    return _events(hub, Topic.HEALTH, _begins(hub, Topic.HEALTH, after, recent), info.context.principal, wanted)


def metrics(_: None, info: Info, *, interval: float | None = 1.0) -> AsyncIterator[Happened]:
    """The latest figures, as often as asked."""
    hub, every_s = info.context.edge.hub, parse_interval(interval, name="interval")
    return _events(hub, Topic.METRICS, Place(recent=0), info.context.principal, everything, every_s=every_s)


def everything(_: Principal, __: Payload) -> bool:
    """Whoever may hear the topic at all."""
    return True


def own(principal: Principal, payload: Payload) -> bool:
    """One's own, and for operators everybody's."""
    return principal.role.may(Role.OPERATOR) or payload.get("user_id") == principal.user_id


async def _events(
    hub: Hub, topic: Topic, begins: Place, principal: Principal, wanted: Wanted, *, every_s: float = 1.0
) -> AsyncIterator[Happened]:
    """Until the reader goes. Raises RequestError LISTENER_STOPPED when the process drains."""
    gap = _missed_before(begins)
    with hub.subscribe((topic,), after=begins.after, recent=begins.recent, metrics_every_s=every_s) as feed:
        while batch := await feed.batch():
            if batch.lost:
                gap = Gap(batch.lost, "this reader was slow")
            for message in batch.messages:
                if wanted(principal, message.payload):
                    yield Happened(_cursor(hub, batch, message), message.at, gap, message.payload)
                    gap = None
    raise RequestError(Code.LISTENER_STOPPED, "this process drains; subscribe again elsewhere", retry_after_s=1)


def _begins(hub: Hub, topic: Topic, after: str | None, recent: int | None) -> Place:
    if recent is not None and not 0 <= recent <= MOST_RECENT:
        raise RequestError(Code.INVALID_REQUEST, f"Expected `recent` from 0 to {MOST_RECENT}.", param="recent")
    if after is None:
        return Place(recent=recent or 0)
    return place(hub, frozenset((topic,)), after)


def _missed_before(begins: Place) -> Gap | None:
    return Gap(None, str(begins.told["reason"])) if begins.recovered is Resumed.NONE else None


def _cursor(hub: Hub, batch: Batch, message: Message) -> str:
    return f"{hub.epoch}:{batch.through if message.topic is Topic.METRICS else message.seq}"


def _of(key: str) -> Resolver:
    def resolve(source: Happened, _: Info) -> Any:
        return source.payload.get(key)

    return resolve


def _at(*path: str) -> Resolver:
    def resolve(source: Happened, _: Info) -> Any:
        value: Any = source.payload
        for key in path:
            value = value[key]
        return value

    return resolve


def _named(*path: str, name: str = "name") -> Resolver:
    """A mapping of mappings as a list, with the key in each."""
    at = _at(*path)

    def resolve(source: Happened, info: Info) -> list[dict[str, Any]]:
        return [{name: key, **figures} for key, figures in at(source, info).items()]

    return resolve


def _paired(*path: str, names: tuple[str, str]) -> Resolver:
    at = _at(*path)

    def resolve(source: Happened, info: Info) -> list[dict[str, Any]]:
        return [dict(zip(names, pair, strict=True)) for pair in at(source, info).items()]

    return resolve


def _id_of(kind: str, key: str) -> Resolver:
    def resolve(source: Happened, _: Info) -> str | None:
        plain = source.payload.get(key)
        return None if plain is None else global_id(kind, plain)

    return resolve


LIVE: Mapping[str, Resolver] = {
    "upstreamHealth": upstream_health,
    "breakerChanges": heard(Topic.BREAKERS, everything),
    "decisions": heard(Topic.DECISIONS, own),
    "usage": heard(Topic.USAGE, own),
    "limitEvents": heard(Topic.LIMITS, own),
    "metrics": metrics,
    "listeners": heard(Topic.LISTENERS, everything),
}
_UPSTREAM = ("health", "was", "detail", "state", "weight", "source")
_BREAKER = ("state", "was", "source")
_LIMIT = ("tier", "model", "endpoint", "limit", "reason", "degraded", "instances", "seconds")

TYPES = {
    "Gap": Type(Gap),
    "UpstreamHealthEvent": Type(
        Happened,
        {
            **{name: _of(name) for name in _UPSTREAM},
            "upstreamId": _of("upstream"),
            "upstream": lambda source, info: info.context.edge.fleet.table.rows.get(source.payload["upstream"]),
        },
    ),
    "BreakerChangeEvent": Type(
        Happened,
        {
            **{name: _of(name) for name in _BREAKER},
            "breakerId": _of("breaker"),
            "retryInS": _of("retry_in_s"),
            "breaker": lambda source, info: info.context.edge.fleet.table.breakers.get(source.payload["breaker"]),
        },
    ),
    "DecisionEvent": Type(Happened, {"decision": "payload"}),
    "UsageEvent": Type(Happened, {"row": "payload"}),
    "LedgerRow": Type(
        Mapping,
        {
            "organisationId": of_type("Organisation", "organisation_id"),
            "userId": of_type("User", "user_id"),
            "costUsd": lambda source, _: float(source["cost_usd"]),
        },
    ),
    "LimitEvent": Type(
        Happened,
        {
            **{name: _of(name) for name in _LIMIT},
            "kind": _of("event"),
            "organisationId": _id_of("Organisation", "organisation_id"),
            "userId": _id_of("User", "user_id"),
            "retryAfterS": _of("retry_after_s"),
            "reservationsToldAgain": _of("reservations_told_again"),
            "lostAtMost": _of("lost_at_most"),
        },
    ),
    "MetricsEvent": Type(
        Happened,
        {
            "windowS": _of("window_s"),
            "uptimeS": _of("uptime_s"),
            "residentBytes": _at("process", "resident_bytes"),
            "cpu": _at("process", "cpu"),
            "loopLagMs": _at("process", "loop_lag_ms"),
            "requestsPerS": _at("requests", "per_s"),
            "outcomes": _paired("requests", "by_outcome_per_s", names=("outcome", "per_s")),
            "ttftMs": _at("requests", "ttft_ms"),
            "durationMs": _at("requests", "duration_ms"),
            "tokensInPerS": _at("tokens", "in_per_s"),
            "tokensOutPerS": _at("tokens", "out_per_s"),
            "costUsdPerS": _of("cost_usd_per_s"),
            "listeners": _named("listeners"),
            "upstreams": _named("upstreams", name="upstream"),
            "limitsDegraded": _at("limits", "degraded"),
            "dependencies": _paired("dependencies", names=("name", "status")),
        },
    ),
    "Quantiles": Type(Mapping),
    "OutcomeRate": Type(Mapping),
    "ListenerFigures": Type(Mapping),
    "UpstreamFigures": Type(Mapping),
    "DependencyFigures": Type(Mapping),
    "ListenerEvent": Type(
        Happened,
        {
            "name": _of("listener"),
            "state": _of("state"),
            "listener": lambda source, info: listener_row(info.context.edge, ListenerName(source.payload["listener"])),
        },
    ),
}
