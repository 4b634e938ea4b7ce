"""Replicas and their breakers, as they are at this moment. Operators read, admins change."""

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET

from citadel_edge.errors import Code, RequestError
from citadel_edge.fleet.row import RowState
from citadel_edge.fleet.table import BreakerEntry, Row
from citadel_edge.listeners.common import fleet_rows
from citadel_edge.listeners.graphql.binding import Resolver, Type
from citadel_edge.listeners.graphql.context import Context
from citadel_edge.listeners.graphql.resolvers.connections import Connection, of_memory, wanted_page
from citadel_edge.listeners.graphql.resolvers.ids import global_id, plain_id
from citadel_edge.listeners.graphql.resolvers.told import Info, payload
from citadel_edge.operations.settings import BreakerOrder, SettingKind, UpstreamPatch


def upstreams(_: None, info: Info, *, first: int | None, after: str | None = None) -> Connection:
    """All, by id."""
    rows = info.context.edge.fleet.table.rows.values()
    return of_memory(rows, wanted_page("Upstream", first, after), key=lambda row: row.id)


def upstream(_: None, info: Info, identity: str) -> Row | None:
    """One."""
    return info.context.edge.fleet.table.rows.get(plain_id("Upstream", identity))


def breakers(
    _: None, info: Info, *, first: int | None, after: str | None = None, state: str | None = None
) -> Connection:
    """All, or those in one state, by id."""
    found = info.context.edge.fleet.table.breakers.values()
    wanted = (entry for entry in found if state is None or entry.breaker.state == state)
    return of_memory(wanted, wanted_page("Breaker", first, after), key=lambda entry: entry.id)


@payload
async def update_upstream(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Weight, state, or both."""
    edge, identity = context.edge, plain_id("Upstream", given["id"])
    state = given.get("state")
    patch = UpstreamPatch(weight=given.get("weight", UNSET), state=UNSET if state is None else RowState(state))
    change = edge.operations.patch_upstream(identity, patch, by=context.actor, version=given.get("version"))
    await edge.carry(change, listener=context.parts.changing.listener)
    row = edge.fleet.table.rows.get(identity)
    if row is None:
        raise RequestError(Code.NOT_FOUND, f"there is no upstream {identity[:80]!r}")
    return {"upstream": row}


@payload
async def trip_breaker(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Open it until it is reset."""
    return await _order(context, given, trip=True)


@payload
async def reset_breaker(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Close it, whoever opened it."""
    return await _order(context, given, trip=False)


async def _order(context: Context, given: dict[str, Any], *, trip: bool) -> dict[str, Any]:
    edge, identity = context.edge, plain_id("Breaker", given["id"])
    order = edge.operations.trip if trip else edge.operations.reset
    reason = BreakerOrder(reason=given.get("reason"))
    change = order(identity, reason, by=context.actor, version=given.get("version"))
    await edge.carry(change, listener=context.parts.changing.listener)
    entry = edge.fleet.table.breakers.get(identity)
    if entry is None:
        raise RequestError(Code.NOT_FOUND, f"there is no breaker {identity[:80]!r}")
    return {"breaker": entry}


def _now(info: Info) -> float:
    return info.context.edge.clock.monotonic_s()


def _changed(kind: SettingKind) -> Resolver:
    def resolve(source: Any, info: Info) -> Any:
        return fleet_rows.changed(info.context.edge.operations.setting(kind, source.id))

    return resolve


def _version(kind: SettingKind) -> Resolver:
    def resolve(source: Any, info: Info) -> int:
        return fleet_rows.version(info.context.edge, kind, source.id)

    return resolve


def _contexts(source: Row, _: Info) -> list[dict[str, Any]]:
    return [{"engine_model": model, "tokens": tokens} for model, tokens in source.context_tokens.items()]


def _own_breaker(source: Row, info: Info) -> BreakerEntry:
    return info.context.edge.fleet.table.breakers.get(source.id) or BreakerEntry(
        source.id, source.id, None, source.breaker
    )


TYPES = {
    "Upstream": Type(
        Row,
        {
            "id": lambda source, _: global_id("Upstream", source.id),
            "plainId": "id",
            "changed": _changed(SettingKind.UPSTREAM),
            "detail": lambda source, _: fleet_rows.detail(source),
            "available": lambda source, info: source.available(_now(info)),
            "warmth": lambda source, info: round(source.warmth(_now(info)), 3),
            "coolingS": lambda source, info: round(max(0.0, source.cooling_until - _now(info)), 3),
            "stalledS": lambda source, info: round(source.stalled_s(_now(info)), 3),
            "breaker": _own_breaker,
            "errorRate": lambda source, info: source.breaker.error_rate(_now(info)),
            "ejections": "breaker.trips",
            "retryInS": lambda source, info: fleet_rows.retry_in_s(source.breaker, _now(info)),
            "gauges": lambda source, info: fleet_rows.gauges(source, _now(info)),
            "estimates": lambda source, info: fleet_rows.estimates(source, _now(info)),
            "contextTokens": _contexts,
            "deployments": lambda source, info: fleet_rows.deployments(info.context.edge, source),
            "version": _version(SettingKind.UPSTREAM),
        },
    ),
    "Breaker": Type(
        BreakerEntry,
        {
            "id": lambda source, _: global_id("Breaker", source.id),
            "plainId": "id",
            "upstreamId": "upstream",
            "state": "breaker.state",
            "held": "breaker.held",
            "source": lambda source, _: fleet_rows.source_of(source.breaker),
            "changed": _changed(SettingKind.BREAKER),
            "failures": "breaker.failures",
            "trips": "breaker.trips",
            "retryInS": lambda source, info: fleet_rows.retry_in_s(source.breaker, _now(info)),
            "version": _version(SettingKind.BREAKER),
        },
    ),
    "Change": Type(Mapping),
    "Gauges": Type(Mapping),
    "SpeedEstimates": Type(Mapping),
    "EngineContext": Type(Mapping),
    "UpdateUpstreamPayload": Type(Mapping),
    "TripBreakerPayload": Type(Mapping),
    "ResetBreakerPayload": Type(Mapping),
}
