"""Users, tiers, organisations and the audit trail, as they are read. The same reads as at rate-limiting-api.

A user reads what is the user's own, operators everything. Decides what a list asks for together rather than row by row.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from citadel_edge.accounts import reads
from citadel_edge.accounts.api_keys import ApiKey, state_of
from citadel_edge.accounts.audit import AuditEntry, AuditFilter
from citadel_edge.accounts.organisations import Organisation
from citadel_edge.accounts.pages import Page
from citadel_edge.accounts.principal import Principal, Role
from citadel_edge.accounts.tiers import Tier
from citadel_edge.accounts.users import User, UserFilter
from citadel_edge.accounts.values import plain
from citadel_edge.config.limits import LIMIT_NAMES
from citadel_edge.config.shape import OnRedisDown
from citadel_edge.listeners.graphql.binding import Resolver, Type
from citadel_edge.listeners.graphql.context import Context
from citadel_edge.listeners.graphql.loaders import Loader
from citadel_edge.listeners.graphql.resolvers.connections import Connection, connection, wanted_page
from citadel_edge.listeners.graphql.resolvers.ids import global_id, plain_id
from citadel_edge.listeners.graphql.resolvers.told import Info, camel, or_none

T = TypeVar("T")
ME = "me"


def viewer(_: None, info: Info) -> Principal:
    """The caller."""
    return info.context.principal


async def users(
    _: None, info: Info, *, first: int | None, after: str | None = None, wanted: dict[str, Any] | None = None
) -> Connection:
    """Oldest first."""
    named = dict(wanted or {})
    if named.get("organisation") is not None:
        named["organisation"] = plain_id("Organisation", named["organisation"])
    return await _users(info.context, first, after, UserFilter(**named))


async def user(_: None, info: Info, identity: str) -> User | None:
    """The caller, or for operators anybody."""
    return await user_of(info.context, plain_id("User", identity))


async def user_of(context: Context, identity: str) -> User | None:
    """The user of this id, if the caller may read it."""
    whose = context.principal.user_id if identity == ME else identity
    if whose != context.principal.user_id and not context.may(Role.OPERATOR):
        return None
    return await or_none(reads.get_user(context.edge.postgres, whose))


async def tiers(_: None, info: Info, *, first: int | None, after: str | None = None) -> Connection:
    """By name."""
    asked = wanted_page("Tier", first, after)
    page = await reads.list_tiers(info.context.edge.postgres, asked.request)
    return connection(page, asked, lambda tier: tier.name)


async def tier(_: None, info: Info, name: str) -> Tier | None:
    """One."""
    return await tier_of(info.context, name)


async def tier_of(context: Context, name: str) -> Tier | None:
    """The tier of this name; together with others that are asked for now."""
    return await loader(context, "tiers", reads.get_tiers).load(plain(name, param="name"))


async def organisations(
    _: None, info: Info, *, first: int | None, after: str | None = None, name: str | None = None
) -> Connection:
    """Oldest first."""
    asked = wanted_page("Organisation", first, after)
    page = await reads.list_organisations(info.context.edge.postgres, asked.request, name=name)
    return connection(page, asked, lambda one: one.id)


async def organisation_of(context: Context, identity: str) -> Organisation | None:
    """The organisation of this id; together with others that are asked for now."""
    return await loader(context, "organisations", reads.get_organisations).load(plain(identity, param="id"))


async def audit(
    _: None, info: Info, *, first: int | None, after: str | None = None, wanted: dict[str, Any] | None = None
) -> Connection:
    """Latest first."""
    asked, named = wanted_page("AuditEntry", first, after), dict(wanted or {})
    span = {"since": named.pop("from", None), "until": named.pop("to", None)}
    page = await reads.list_audit(info.context.edge.postgres, asked.request, AuditFilter(**named, **span))
    return connection(page, asked, lambda entry: entry.id)


async def _users(context: Context, first: int | None, after: str | None, wanted: UserFilter) -> Connection:
    asked = wanted_page("User", first, after)
    page = await reads.list_users(context.edge.postgres, asked.request, wanted)
    return connection(page, asked, lambda one: one.id)


async def _members(source: Organisation, info: Info, *, first: int | None, after: str | None = None) -> Connection:
    return await _users(info.context, first, after, UserFilter(organisation=source.id))


async def _keys(
    source: User, info: Info, *, first: int | None, after: str | None = None, state: str | None = None
) -> Connection:
    """First pages are asked for together; whoever goes on in one goes on alone."""
    asked, postgres = wanted_page("ApiKey", first, after), info.context.edge.postgres
    request = asked.request
    if after is not None:
        page: Page[ApiKey] | None = await reads.list_keys(postgres, source.id, request, state=state)
    else:
        name = f"keys {request.limit} {state}"
        page = await loader(
            info.context, name, lambda postgres, ids: reads.first_keys(postgres, ids, request, state=state)
        ).load(source.id)
    return connection(page or Page((), None), asked, lambda key: key.id)


def loader(context: Context, name: str, fetch: Any) -> Loader[str, Any]:
    """This operation's loader of that name; `fetch(postgres, keys)` finds many at once."""
    known = context.loaders.get(name)
    if known is None:
        postgres = context.edge.postgres
        known = context.loaders[name] = Loader(lambda keys: fetch(postgres, keys))
    return known


def of_type(kind: str, name: str) -> Resolver:
    """The global id of what an attribute names; null where it names nothing."""

    def resolve(source: Any, _: Info) -> str | None:
        plain = source.get(name) if isinstance(source, Mapping) else getattr(source, name)
        return None if plain is None else global_id(kind, plain)

    return resolve


def by_model(sheets: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Limits of single models, as a list."""
    return [{"model": model, "limits": _limits(sheet)} for model, sheet in sheets.items()]


def by_endpoint(sheets: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Limits of single endpoints, as a list."""
    return [{"endpoint": endpoint, "limits": _limits(sheet)} for endpoint, sheet in sheets.items()]


def _limits(sheet: Any) -> Mapping[str, Any]:
    return sheet if isinstance(sheet, Mapping) else asdict(sheet)


async def _own_user(source: Principal, info: Info) -> User | None:
    return await user_of(info.context, source.user_id)


def _key_state(source: ApiKey, info: Info) -> str:
    return state_of(source, info.context.edge.clock.now())


TYPES = {
    "Viewer": Type(
        Principal,
        {
            "id": of_type("User", "user_id"),
            "plainId": "user_id",
            "organisationId": of_type("Organisation", "organisation_id"),
            "user": _own_user,
        },
    ),
    "User": Type(
        User,
        {
            "id": of_type("User", "id"),
            "plainId": "id",
            "tierName": "tier",
            "tier": lambda source, info: tier_of(info.context, source.tier),
            "organisationId": of_type("Organisation", "organisation_id"),
            "organisation": lambda source, info: organisation_of(info.context, source.organisation_id),
            "keys": _keys,
        },
    ),
    "ApiKey": Type(
        ApiKey,
        {
            "id": of_type("ApiKey", "id"),
            "plainId": "id",
            "userId": of_type("User", "user_id"),
            "state": _key_state,
            "replacedBy": of_type("ApiKey", "replaced_by"),
        },
    ),
    "Tier": Type(
        Tier,
        {
            "id": of_type("Tier", "name"),
            **{camel(name): f"config.{name}" for name in LIMIT_NAMES},
            "byModel": lambda source, _: by_model(source.config.by_model),
            "byEndpoint": lambda source, _: by_endpoint(source.config.by_endpoint),
            "burst": "config.burst",
            "priority": "config.priority",
            "models": "config.models",
            "onRedisDown": "config.on_redis_down",
        },
    ),
    "Organisation": Type(
        Organisation,
        {
            "id": of_type("Organisation", "id"),
            "plainId": "id",
            "byModel": lambda source, _: by_model(source.limits.get("by_model", {})),
            "byEndpoint": lambda source, _: by_endpoint(source.limits.get("by_endpoint", {})),
            "burst": lambda source, _: source.limits.get("burst"),
            "users": _members,
        },
    ),
    "AuditEntry": Type(AuditEntry, {"id": lambda source, _: global_id("AuditEntry", str(source.id))}),
    "OnRedisDown": Type(OnRedisDown),
    "Limits": Type(Mapping),
    "ModelLimits": Type(Mapping),
    "EndpointLimits": Type(Mapping),
}
