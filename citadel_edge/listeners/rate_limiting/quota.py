"""A user's quota over HTTP: what limits the user and what is left, overrides and top-ups."""

from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from citadel_edge.accounts import reads
from citadel_edge.accounts.changes import Changes
from citadel_edge.accounts.top_ups import NewTopUp
from citadel_edge.edge import EDGE
from citadel_edge.listeners.common.changing import CHANGING, Made
from citadel_edge.listeners.common.payload import actor, expected_version, many, one, read, wanted_page
from citadel_edge.listeners.common.quotas import shown_quota
from citadel_edge.listeners.rate_limiting.creating import created
from citadel_edge.listeners.rate_limiting.whose import whose

TOP_UP_VERSION: Final = 1
"""A top-up is never changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaPatch:
    """What to change: the overrides, as a whole."""

    overrides: dict[str, Any]


async def get_quota(request: web.Request) -> web.StreamResponse:
    """`GET /v1/users/{id}/quota`: anybody reads the own one."""
    edge = request.app[EDGE]
    quota = await reads.get_quota(edge.postgres, whose(request))
    return one(await shown_quota(edge, quota), version=quota.version)


async def set_overrides(request: web.Request) -> web.StreamResponse:
    """`PATCH /v1/users/{id}/quota`: what is not named is the tier's again, null is no limit."""
    edge = request.app[EDGE]
    change = edge.changes.set_overrides(
        request.match_info["id"],
        read(request, QuotaPatch).overrides,
        by=actor(request),
        version=expected_version(request),
    )
    quota = await request.app[CHANGING].carry(change)
    return one(await shown_quota(edge, quota), version=quota.version)


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
    await request.app[CHANGING].carry(change)
    return web.Response(status=204)
