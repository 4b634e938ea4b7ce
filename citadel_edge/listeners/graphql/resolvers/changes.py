"""Users, keys and tiers made, changed and deleted by admins: the same changes as at rate-limiting-api.

Decides how an input becomes what the accounts take. Refuses to know what is possible: they say so.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import msgspec

from citadel_edge.accounts import reads
from citadel_edge.accounts.api_keys import ApiKey, MadeKey, NewApiKey
from citadel_edge.accounts.changes import Changes
from citadel_edge.accounts.desk import invalid
from citadel_edge.accounts.keys import env_of
from citadel_edge.accounts.sheets import checked_tier
from citadel_edge.accounts.tiers import Tier, shown_tier
from citadel_edge.accounts.users import NewUser, User, UserPatch, UserState
from citadel_edge.config.shape import TierConfig
from citadel_edge.listeners.common.changing import Made
from citadel_edge.listeners.graphql.binding import Type
from citadel_edge.listeners.graphql.context import Context
from citadel_edge.listeners.graphql.resolvers.creating import created
from citadel_edge.listeners.graphql.resolvers.ids import global_id, plain_id
from citadel_edge.listeners.graphql.resolvers.told import Info, payload

_OWN = frozenset(("idempotency_key", "version"))


@payload
async def create_user(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Made once under an idempotency key."""
    named = {name: value for name, value in given.items() if name not in _OWN and value is not None}
    new, by = NewUser(**_with_organisation(named)), context.actor

    async def make(changes: Changes) -> Made:
        user = await changes.create_user(new, by=by)
        return Made(shown=user, version=user.version)

    shown, replayed = await created(context, "createUser", given, make)
    return {"user": msgspec.convert(shown, User), "replayed": replayed}


@payload
async def update_user(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    """What is null or absent stays."""
    named = {name: value for name, value in given.items() if name not in (*_OWN, "id") and value is not None}
    if "state" in named:
        named["state"] = UserState(named["state"])
    patch = UserPatch(**_with_organisation(named))
    user_id, version = plain_id("User", given["id"]), given.get("version")
    change = context.edge.changes.update_user(user_id, patch, by=context.actor, version=version)
    return {"user": await context.parts.changing.carry(change)}


@payload
async def delete_user(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    """With keys, overrides and top-ups."""
    user_id, version = plain_id("User", given["id"]), given.get("version")
    await context.parts.changing.carry(context.edge.changes.delete_user(user_id, by=context.actor, version=version))
    return {"deleted_id": global_id("User", user_id)}


@payload
async def create_api_key(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Its text is shown once."""
    user_id, by, env = plain_id("User", given["user_id"]), context.actor, _env(context)
    new = NewApiKey(**{name: given[name] for name in ("name", "expires_at") if given.get(name) is not None})

    async def make(changes: Changes) -> Made:
        return _shown_once(await changes.create_key(user_id, new, env=env, by=by))

    return _made_key(*await created(context, "createApiKey", given, make))


@payload
async def rotate_api_key(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    """The new key's text is shown once."""
    old = await reads.find_key(context.edge.postgres, plain_id("ApiKey", given["id"]))
    by, env, version = context.actor, _env(context), given.get("version")
    overlap_s = given.get("overlap_s") or 0.0

    async def make(changes: Changes) -> Made:
        made = await changes.rotate_key(old.user_id, old.id, env=env, overlap_s=overlap_s, by=by, version=version)
        return _shown_once(made)

    return _made_key(*await created(context, "rotateApiKey", given, make))


@payload
async def revoke_api_key(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    """It ends everywhere."""
    key = await reads.find_key(context.edge.postgres, plain_id("ApiKey", given["id"]))
    change = context.edge.changes.revoke_key(key.user_id, key.id, by=context.actor, version=given.get("version"))
    return {"api_key": await context.parts.changing.carry(change)}


@payload
async def create_tier(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    """The fields of a tier in the configuration."""
    new, by = checked_tier(_tier_fields(given)), context.actor

    async def make(changes: Changes) -> Made:
        tier = await changes.create_tier(new, by=by)
        return Made(shown=shown_tier(tier), version=tier.version)

    shown, replayed = await created(context, "createTier", given, make)
    return {"tier": _tier(shown), "replayed": replayed}


@payload
async def update_tier(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    """The given fields; a limit of null is no limit."""
    named = _tier_fields(given)
    name = named.pop("name")
    change = context.edge.changes.update_tier(name, named, by=context.actor, version=given.get("version"))
    return {"tier": await context.parts.changing.carry(change)}


@payload
async def delete_tier(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    """One that nobody has."""
    name, version = given["name"], given.get("version")
    await context.parts.changing.carry(context.edge.changes.delete_tier(name, by=context.actor, version=version))
    return {"deleted_id": global_id("Tier", name)}


def _with_organisation(named: dict[str, Any]) -> dict[str, Any]:
    if "organisation" in named:
        named["organisation"] = plain_id("Organisation", named["organisation"])
    return named


def _env(context: Context) -> str:
    return env_of(context.edge.config.value.environment)


def _shown_once(made: MadeKey) -> Made:
    key: dict[str, Any] = asdict(made.key)
    return Made(shown={**key, "key": made.text}, replayed={**key, "key": None}, version=made.key.version)


def _made_key(shown: dict[str, Any], replayed: bool) -> dict[str, Any]:  # noqa: FBT001 - handed on as it came
    text = shown.pop("key")
    return {"api_key": msgspec.convert(shown, ApiKey), "key": text, "replayed": replayed}


def _tier_fields(given: dict[str, Any]) -> dict[str, Any]:
    """As the configuration names them. What may not be null in a tier and is, was not given."""
    nullable = {each.name for each in fields(TierConfig) if each.default is None}
    named = {
        name: value for name, value in given.items() if name not in _OWN and (value is not None or name in nullable)
    }
    for sheet, key in (("by_model", "model"), ("by_endpoint", "endpoint")):
        if sheet in named:
            named[sheet] = _once_each(named[sheet], key, sheet)
    if "on_redis_down" in named:
        named["on_redis_down"] = {name: value for name, value in named["on_redis_down"].items() if value is not None}
    return named


def _once_each(listed: list[dict[str, Any]], key: str, sheet: str) -> dict[str, Any]:
    found = {each[key]: each["limits"] for each in listed}
    for name, times in Counter(each[key] for each in listed).items():
        if times > 1:
            raise invalid(f"The {key} {name[:80]!r} is there more than once.", sheet)
    return found


def _tier(shown: dict[str, Any]) -> Tier:
    config = {each.name: shown[each.name] for each in fields(TierConfig)}
    about = {name: value for name, value in shown.items() if name not in config}
    moments = {name: msgspec.convert(about[name], Tier.__annotations__[name]) for name in about}
    return Tier(config=checked_tier({**config, "models": tuple(config["models"])}), **moments)


def _replayed(source: Mapping[str, Any], _: Info) -> bool:
    return bool(source.get("replayed"))


TYPES = {
    **{
        name: Type(Mapping, {"replayed": _replayed})
        for name in ("CreateUserPayload", "CreateApiKeyPayload", "RotateApiKeyPayload", "CreateTierPayload")
    },
    **{
        name: Type(Mapping)
        for name in (
            "UpdateUserPayload",
            "DeleteUserPayload",
            "RevokeApiKeyPayload",
            "UpdateTierPayload",
            "DeleteTierPayload",
        )
    },
}
