"""A user's quota as doors show it: what limits the user and who said so, what is left, overrides and top-ups.

Decides how it looks. Refuses to know how a limit counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from citadel_edge.accounts import reads
from citadel_edge.accounts.effective import EffectiveLimit, effective
from citadel_edge.accounts.principal import Principal
from citadel_edge.accounts.quotas import Quota
from citadel_edge.accounts.top_ups import GivenTopUp
from citadel_edge.edge import Edge
from citadel_edge.limits.plan import Who
from citadel_edge.limits.standings import scope
from citadel_edge.limits.values import Standing


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


async def shown_quota(edge: Edge, quota: Quota) -> QuotaShown:
    """It all. Raises as the directory, the limiter and the reads do."""
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
