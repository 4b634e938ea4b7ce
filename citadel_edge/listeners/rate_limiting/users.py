"""Users and their keys."""

from dataclasses import asdict, dataclass
from typing import Any

from aiohttp import web

from citadel_edge.accounts import reads
from citadel_edge.accounts.api_keys import MadeKey, NewApiKey
from citadel_edge.accounts.changes import Changes
from citadel_edge.accounts.keys import env_of
from citadel_edge.accounts.users import NewUser, UserFilter, UserPatch
from citadel_edge.edge import EDGE
from citadel_edge.listeners.common.changing import CHANGING, Made
from citadel_edge.listeners.common.payload import actor, expected_version, many, one, read, wanted_page
from citadel_edge.listeners.rate_limiting.creating import created
from citadel_edge.listeners.rate_limiting.whose import whose


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """How long the old key goes on, in seconds."""

    overlap_s: float = 0.0


async def create_user(request: web.Request) -> web.StreamResponse:
    """`POST /v1/users`."""
    new, by = read(request, NewUser), actor(request)

    async def make(changes: Changes) -> Made:
        user = await changes.create_user(new, by=by)
        return Made(shown=user, version=user.version)

    return await created(request, make)


async def list_users(request: web.Request) -> web.StreamResponse:
    """`GET /v1/users`."""
    query = request.query
    wanted = UserFilter(
        organisation=query.get("organisation"),
        tier=query.get("tier"),
        role=query.get("role"),
        state=query.get("state"),
        name=query.get("name"),
    )
    return many(await reads.list_users(request.app[EDGE].postgres, wanted_page(request), wanted))


async def get_user(request: web.Request) -> web.StreamResponse:
    """`GET /v1/users/{id}`: anybody reads the own one."""
    user = await reads.get_user(request.app[EDGE].postgres, whose(request))
    return one(user, version=user.version)


async def update_user(request: web.Request) -> web.StreamResponse:
    """`PATCH /v1/users/{id}`."""
    edge = request.app[EDGE]
    patch = read(request, UserPatch)
    change = edge.changes.update_user(
        request.match_info["id"], patch, by=actor(request), version=expected_version(request)
    )
    user = await request.app[CHANGING].carry(change)
    return one(user, version=user.version)


async def delete_user(request: web.Request) -> web.StreamResponse:
    """`DELETE /v1/users/{id}`."""
    edge = request.app[EDGE]
    change = edge.changes.delete_user(request.match_info["id"], by=actor(request), version=expected_version(request))
    await request.app[CHANGING].carry(change)
    return web.Response(status=204)


async def create_key(request: web.Request) -> web.StreamResponse:
    """`POST /v1/users/{id}/keys`: the key is shown once."""
    new, by = read(request, NewApiKey), actor(request)
    env = env_of(request.app[EDGE].config.value.environment)

    async def make(changes: Changes) -> Made:
        return _shown_once(await changes.create_key(request.match_info["id"], new, env=env, by=by))

    return await created(request, make)


async def list_keys(request: web.Request) -> web.StreamResponse:
    """`GET /v1/users/{id}/keys`, ended ones included, without their secrets."""
    edge, state = request.app[EDGE], request.query.get("state")
    return many(await reads.list_keys(edge.postgres, whose(request), wanted_page(request), state=state))


async def rotate_key(request: web.Request) -> web.StreamResponse:
    """`POST /v1/users/{id}/keys/{key_id}/rotate`: the new key is shown once."""
    overlap_s, by, version = read(request, Rotation).overlap_s, actor(request), expected_version(request)
    env = env_of(request.app[EDGE].config.value.environment)
    user_id, key_id = request.match_info["id"], request.match_info["key_id"]

    async def make(changes: Changes) -> Made:
        return _shown_once(
            await changes.rotate_key(user_id, key_id, env=env, overlap_s=overlap_s, by=by, version=version)
        )

    return await created(request, make)


async def revoke_key(request: web.Request) -> web.StreamResponse:
    """`DELETE /v1/users/{id}/keys/{key_id}`."""
    edge = request.app[EDGE]
    change = edge.changes.revoke_key(
        request.match_info["id"],
        request.match_info["key_id"],
        by=actor(request),
        version=expected_version(request),
    )
    key = await request.app[CHANGING].carry(change)
    return one(key, version=key.version)


def _shown_once(made: MadeKey) -> Made:
    key: dict[str, Any] = asdict(made.key)
    return Made(shown={**key, "key": made.text}, replayed={**key, "key": None}, version=made.key.version)
