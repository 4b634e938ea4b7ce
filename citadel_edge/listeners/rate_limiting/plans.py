"""Organisations and tiers: what users belong to and what their limits come from. And the audit trail of all changes."""

from datetime import UTC, datetime

from aiohttp import web

from citadel_edge.accounts import reads
from citadel_edge.accounts.audit import AuditFilter
from citadel_edge.accounts.changes import Changes
from citadel_edge.accounts.days import moment
from citadel_edge.accounts.organisations import NewOrganisation, OrganisationPatch
from citadel_edge.accounts.sheets import checked_tier
from citadel_edge.accounts.tiers import shown_tier
from citadel_edge.edge import EDGE
from citadel_edge.listeners.common.changing import CHANGING, Made
from citadel_edge.listeners.common.payload import actor, expected_version, many, one, read, read_object, wanted_page
from citadel_edge.listeners.rate_limiting.creating import created


async def create_organisation(request: web.Request) -> web.StreamResponse:
    """`POST /v1/organisations`."""
    new, by = read(request, NewOrganisation), actor(request)

    async def make(changes: Changes) -> Made:
        made = await changes.create_organisation(new, by=by)
        return Made(shown=made, version=made.version)

    return await created(request, make)


async def list_organisations(request: web.Request) -> web.StreamResponse:
    """`GET /v1/organisations`."""
    edge, name = request.app[EDGE], request.query.get("name")
    return many(await reads.list_organisations(edge.postgres, wanted_page(request), name=name))


async def get_organisation(request: web.Request) -> web.StreamResponse:
    """`GET /v1/organisations/{id}`."""
    found = await reads.get_organisation(request.app[EDGE].postgres, request.match_info["id"])
    return one(found, version=found.version)


async def update_organisation(request: web.Request) -> web.StreamResponse:
    """`PATCH /v1/organisations/{id}`."""
    edge = request.app[EDGE]
    patch = read(request, OrganisationPatch)
    change = edge.changes.update_organisation(
        request.match_info["id"], patch, by=actor(request), version=expected_version(request)
    )
    made = await request.app[CHANGING].carry(change)
    return one(made, version=made.version)


async def delete_organisation(request: web.Request) -> web.StreamResponse:
    """`DELETE /v1/organisations/{id}`."""
    edge = request.app[EDGE]
    identity, version = request.match_info["id"], expected_version(request)
    await request.app[CHANGING].carry(edge.changes.delete_organisation(identity, by=actor(request), version=version))
    return web.Response(status=204)


async def create_tier(request: web.Request) -> web.StreamResponse:
    """`POST /v1/tiers`: the fields of a tier in the configuration."""
    new, by = checked_tier(read_object(request)), actor(request)

    async def make(changes: Changes) -> Made:
        tier = await changes.create_tier(new, by=by)
        return Made(shown=shown_tier(tier), version=tier.version)

    return await created(request, make)


async def list_tiers(request: web.Request) -> web.StreamResponse:
    """`GET /v1/tiers`."""
    page = await reads.list_tiers(request.app[EDGE].postgres, wanted_page(request))
    return many(page, [shown_tier(tier) for tier in page.data])


async def get_tier(request: web.Request) -> web.StreamResponse:
    """`GET /v1/tiers/{name}`."""
    tier = await reads.get_tier(request.app[EDGE].postgres, request.match_info["name"])
    return one(shown_tier(tier), version=tier.version)


async def update_tier(request: web.Request) -> web.StreamResponse:
    """`PATCH /v1/tiers/{name}`: the given fields; a limit of null is no limit."""
    edge = request.app[EDGE]
    change = edge.changes.update_tier(
        request.match_info["name"], read_object(request), by=actor(request), version=expected_version(request)
    )
    tier = await request.app[CHANGING].carry(change)
    return one(shown_tier(tier), version=tier.version)


async def delete_tier(request: web.Request) -> web.StreamResponse:
    """`DELETE /v1/tiers/{name}`."""
    edge = request.app[EDGE]
    change = edge.changes.delete_tier(request.match_info["name"], by=actor(request), version=expected_version(request))
    await request.app[CHANGING].carry(change)
    return web.Response(status=204)


async def list_audit(request: web.Request) -> web.StreamResponse:
    """`GET /v1/audit`, latest first."""
    query = request.query
    wanted = AuditFilter(
        subject=query.get("subject"),
        who=query.get("who"),
        action=query.get("action"),
        since=_moment(request, "from"),
        until=_moment(request, "to"),
    )
    return many(await reads.list_audit(request.app[EDGE].postgres, wanted_page(request), wanted))


def _moment(request: web.Request, name: str) -> datetime | None:
    """An end of a span; a day begins in UTC here, where changes are nobody's alone."""
    text = request.query.get(name)
    return None if text is None else moment(text, UTC, param=name)
