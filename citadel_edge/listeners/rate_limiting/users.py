"""Users and their keys."""

from dataclasses import asdict, dataclass
from typing import Any

from aiohttp import web

from citadel_edge.accounts import reads
from citadel_edge.accounts.api_keys import MadeKey, NewApiKey
from citadel_edge.accounts.keys import env_of
from citadel_edge.accounts.users import NewUser, UserPatch
from citadel_edge.edge import EDGE
from citadel_edge.listeners.common.payload import actor, expected_version, many, one, read, wanted_page
from citadel_edge.listeners.rate_limiting.carry import carried


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """How long the old key goes on, in seconds."""

    overlap_s: float = 0.0


async def create_user(request: web.Request) -> web.StreamResponse:
    """`POST /v1/users`."""
    edge = request.app[EDGE]
    user = await carried(request, edge.changes.create_user(read(request, NewUser), by=actor(request)))
    return one(user, version=user.version, status=201)


async def list_users(request: web.Request) -> web.StreamResponse:
    """`GET /v1/users`."""
    query = request.query
    page = await reads.list_users(
        request.app[EDGE].postgres,
        wanted_page(request),
        organisation_id=query.get("organisation"),
        tier=query.get("tier"),
    )
    return many(page)


async def get_user(request: web.Request) -> web.StreamResponse:
    """`GET /v1/users/{id}`."""
    user = await reads.get_user(request.app[EDGE].postgres, request.match_info["id"])
    return one(user, version=user.version)


async def update_user(request: web.Request) -> web.StreamResponse:
    """`PATCH /v1/users/{id}`."""
    edge = request.app[EDGE]
    patch = read(request, UserPatch)
    change = edge.changes.update_user(
        request.match_info["id"], patch, by=actor(request), version=expected_version(request)
    )
    user = await carried(request, change)
    return one(user, version=user.version)


async def delete_user(request: web.Request) -> web.StreamResponse:
    """`DELETE /v1/users/{id}`."""
    edge = request.app[EDGE]
    change = edge.changes.delete_user(request.match_info["id"], by=actor(request), version=expected_version(request))
    await carried(request, change)
    return web.Response(status=204)


async def create_key(request: web.Request) -> web.StreamResponse:
    """`POST /v1/users/{id}/keys`: the key is shown once."""
    edge = request.app[EDGE]
    new = read(request, NewApiKey)
    env = env_of(edge.config.value.environment)
    made = await carried(request, edge.changes.create_key(request.match_info["id"], new, env=env, by=actor(request)))
    return one(_shown_once(made), version=made.key.version, status=201)


async def list_keys(request: web.Request) -> web.StreamResponse:
    """`GET /v1/users/{id}/keys`, ended ones included, without their secrets."""
    return many(await reads.list_keys(request.app[EDGE].postgres, request.match_info["id"], wanted_page(request)))


async def rotate_key(request: web.Request) -> web.StreamResponse:
    """`POST /v1/users/{id}/keys/{key_id}/rotate`."""
    edge = request.app[EDGE]
    change = edge.changes.rotate_key(
        request.match_info["id"],
        request.match_info["key_id"],
        env=env_of(edge.config.value.environment),
        overlap_s=read(request, Rotation).overlap_s,
        by=actor(request),
        version=expected_version(request),
    )
    made = await carried(request, change)
    return one(_shown_once(made), version=made.key.version, status=201)


async def revoke_key(request: web.Request) -> web.StreamResponse:
    """`DELETE /v1/users/{id}/keys/{key_id}`."""
    edge = request.app[EDGE]
    change = edge.changes.revoke_key(
        request.match_info["id"],
        request.match_info["key_id"],
        by=actor(request),
        version=expected_version(request),
    )
    key = await carried(request, change)
    return one(key, version=key.version)


def _shown_once(made: MadeKey) -> dict[str, Any]:
    return {**asdict(made.key), "key": made.text}
