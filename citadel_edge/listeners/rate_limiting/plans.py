"""Organisations and tiers: what users belong to and what their limits come from. And the audit trail of all changes."""

from aiohttp import web

from citadel_edge.accounts import reads
from citadel_edge.accounts.organisations import NewOrganisation, OrganisationPatch
from citadel_edge.accounts.sheets import checked_tier
from citadel_edge.accounts.tiers import shown_tier
from citadel_edge.edge import EDGE
from citadel_edge.listeners.common.payload import actor, expected_version, many, one, read, read_object, wanted_page
from citadel_edge.listeners.rate_limiting.carry import carried


async def create_organisation(request: web.Request) -> web.StreamResponse:
    """`POST /v1/organisations`."""
    edge = request.app[EDGE]
    made = await carried(request, edge.changes.create_organisation(read(request, NewOrganisation), by=actor(request)))
    return one(made, version=made.version, status=201)


async def list_organisations(request: web.Request) -> web.StreamResponse:
    """`GET /v1/organisations`."""
    return many(await reads.list_organisations(request.app[EDGE].postgres, wanted_page(request)))


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
    made = await carried(request, change)
    return one(made, version=made.version)


async def delete_organisation(request: web.Request) -> web.StreamResponse:
    """`DELETE /v1/organisations/{id}`."""
    edge = request.app[EDGE]
    identity, version = request.match_info["id"], expected_version(request)
    await carried(request, edge.changes.delete_organisation(identity, by=actor(request), version=version))
    return web.Response(status=204)


async def create_tier(request: web.Request) -> web.StreamResponse:
    """`POST /v1/tiers`: the fields of a tier in the configuration."""
    edge = request.app[EDGE]
    new = checked_tier(read_object(request))
    tier = await carried(request, edge.changes.create_tier(new, by=actor(request)))
    return one(shown_tier(tier), version=tier.version, status=201)


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
    tier = await carried(request, change)
    return one(shown_tier(tier), version=tier.version)


async def delete_tier(request: web.Request) -> web.StreamResponse:
    """`DELETE /v1/tiers/{name}`."""
    edge = request.app[EDGE]
    change = edge.changes.delete_tier(request.match_info["name"], by=actor(request), version=expected_version(request))
    await carried(request, change)
    return web.Response(status=204)


async def list_audit(request: web.Request) -> web.StreamResponse:
    """`GET /v1/audit`, latest first."""
    subject = request.query.get("subject")
    return many(await reads.list_audit(request.app[EDGE].postgres, wanted_page(request), subject=subject))
