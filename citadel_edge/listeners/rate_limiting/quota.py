"""A user's quota: what limits the user and who said so, what is left, overrides and top-ups."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from aiohttp import web

from citadel_edge.accounts import reads
from citadel_edge.accounts.changes import Changes
from citadel_edge.accounts.effective import EffectiveLimit, effective
from citadel_edge.accounts.principal import Principal
from citadel_edge.accounts.quotas import Quota
from citadel_edge.accounts.top_ups import GivenTopUp, NewTopUp
from citadel_edge.edge import EDGE, Edge
from citadel_edge.limits.plan import Who
from citadel_edge.limits.standings import scope
from citadel_edge.limits.values import Standing
from citadel_edge.listeners.common.payload import actor, expected_version, many, one, read, wanted_page
from citadel_edge.listeners.rate_limiting.carry import carried
from citadel_edge.listeners.rate_limiting.creating import Made, created
from citadel_edge.listeners.rate_limiting.whose import whose

TOP_UP_VERSION: Final = 1
"""A top-up is never changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaLimit:
    """One limit as it is shown.

    Attributes:
        scope: `user` or `organisation`, and behind it the model or endpoint that it is for alone.
        limit: null is no limit.
        remaining: what one request would be granted now; null where there is no limit, or it is not known.
        reset_s: until it is wholly free again.
    """

    name: str
    scope: str
    limit: float | None
    remaining: float | None
    reset_s: float | None
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaShown:
    """A user's quota. `top_ups` are those that count at the moment; `degraded`: Redis did not say what is left."""

    user_id: str
    organisation_id: str
    tier: str
    time_zone: str
    limits: tuple[QuotaLimit, ...]
    overrides: Mapping[str, Any]
    top_ups: tuple[GivenTopUp, ...]
    degraded: bool
    version: int
    updated_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaPatch:
    """What to change: the overrides, as a whole."""

    overrides: dict[str, Any]


async def get_quota(request: web.Request) -> web.StreamResponse:
    """`GET /v1/users/{id}/quota`: anybody reads the own one."""
    edge = request.app[EDGE]
    quota = await reads.get_quota(edge.postgres, whose(request))
    return one(await _shown(edge, quota), version=quota.version)


async def set_overrides(request: web.Request) -> web.StreamResponse:
    """`PATCH /v1/users/{id}/quota`: what is not named is the tier's again, null is no limit."""
    edge = request.app[EDGE]
    change = edge.changes.set_overrides(
        request.match_info["id"],
        read(request, QuotaPatch).overrides,
        by=actor(request),
        version=expected_version(request),
    )
    quota = await carried(request, change)
    return one(await _shown(edge, quota), version=quota.version)


async def create_top_up(request: web.Request) -> web.StreamResponse:
    """`POST /v1/users/{id}/quota/top-ups`."""
    new, by = read(request, NewTopUp), actor(request)

    async def make(changes: Changes) -> Made:
        return Made(shown=await changes.create_top_up(request.match_info["id"], new, by=by), version=TOP_UP_VERSION)

    return await created(request, make)


async def list_top_ups(request: web.Request) -> web.StreamResponse:
    """`GET /v1/users/{id}/quota/top-ups`: anybody reads the own ones, those whose time is over included."""
    return many(await reads.list_top_ups(request.app[EDGE].postgres, whose(request), wanted_page(request)))


async def delete_top_up(request: web.Request) -> web.StreamResponse:
    """`DELETE /v1/users/{id}/quota/top-ups/{top_up_id}`: take back what is left of it."""
    identity, version = request.match_info["top_up_id"], expected_version(request)
    change = request.app[EDGE].changes.delete_top_up(
        request.match_info["id"], identity, by=actor(request), version=version
    )
    await carried(request, change)
    return web.Response(status=204)


async def _shown(edge: Edge, quota: Quota) -> QuotaShown:
    principal = await edge.directory.described(quota.user_id)
    found = effective(principal.entitlement)
    levels, degraded = await _levels(edge, principal, found)
    return QuotaShown(
        user_id=quota.user_id,
        organisation_id=principal.organisation_id,
        tier=principal.tier,
        time_zone=str(principal.entitlement.zone),
        limits=tuple(_limit(limit, levels.get((limit.name, _scope(limit)))) for limit in found),
        overrides=quota.overrides,
        top_ups=await reads.counting_top_ups(edge.postgres, quota.user_id),
        degraded=degraded,
        version=quota.version,
        updated_at=quota.updated_at,
    )


async def _levels(
    edge: Edge, principal: Principal, limits: tuple[EffectiveLimit, ...]
) -> tuple[dict[tuple[str, str], Standing], bool]:
    """How every limit stands, by name and scope, and whether Redis did not say it: nothing is taken.

    The limits of a request are those of one model and one endpoint; here all of them are asked for.
    """
    places = dict.fromkeys((limit.model, limit.endpoint) for limit in limits if limit.limit is not None)
    looked = await edge.limiter.look_all([_caller(principal, *place) for place in places])
    return {(one.name.value, one.scope): one for one in looked.standings}, looked.degraded


def _caller(principal: Principal, model: str, endpoint: str) -> Who:
    return Who(
        organisation_id=principal.organisation_id,
        user_id=principal.user_id,
        entitlement=principal.entitlement,
        model=model,
        endpoint=endpoint,
    )


def _scope(limit: EffectiveLimit) -> str:
    return scope(limit.side, limit.model, limit.endpoint)


def _limit(limit: EffectiveLimit, standing: Standing | None) -> QuotaLimit:
    return QuotaLimit(
        name=limit.name,
        scope=_scope(limit),
        limit=limit.limit,
        remaining=None if standing is None else standing.remaining,
        reset_s=None if standing is None else standing.reset_s,
        source=limit.source.value,
    )
