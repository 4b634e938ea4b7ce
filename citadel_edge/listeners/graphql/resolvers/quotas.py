"""What limits users and what is left; overrides and top-ups. A user reads what is the user's own."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from citadel_edge.accounts import reads
from citadel_edge.accounts.changes import Changes
from citadel_edge.accounts.desk import invalid
from citadel_edge.accounts.top_ups import GivenTopUp, NewTopUp
from citadel_edge.config.limits import LIMIT_NAMES
from citadel_edge.listeners.common.changing import Made
from citadel_edge.listeners.common.quotas import QuotaLimit, QuotaShown, shown_quota
from citadel_edge.listeners.graphql.binding import Type
from citadel_edge.listeners.graphql.context import Context
from citadel_edge.listeners.graphql.resolvers.accounts import of_type
from citadel_edge.listeners.graphql.resolvers.connections import Connection, connection, wanted_page
from citadel_edge.listeners.graphql.resolvers.creating import created
from citadel_edge.listeners.graphql.resolvers.ids import plain_id
from citadel_edge.listeners.graphql.resolvers.told import Info, payload

TOP_UP_VERSION = 1


async def quota_of(context: Context, user_id: str) -> QuotaShown:
    """Of a user. Raises as the reads do."""
    edge = context.edge
    return await shown_quota(edge, await reads.get_quota(edge.postgres, user_id))


@payload
async def override_quota(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Replaced as a whole: what is not named is the tier's again."""
    edge, user_id = context.edge, plain_id("User", given["user_id"])
    overrides = overrides_of(given["overrides"])
    change = edge.changes.set_overrides(user_id, overrides, by=context.actor, version=given.get("version"))
    return {"quota": await shown_quota(edge, await context.parts.changing.carry(change))}


@payload
async def top_up_quota(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Tokens or dollars on top of the quotas."""
    user_id, by = plain_id("User", given["user_id"]), context.actor
    new = NewTopUp(**{name: given[name] for name in ("reason", "tokens", "usd", "expires_at") if name in given})

    async def make(changes: Changes) -> Made:
        return Made(shown=await changes.create_top_up(user_id, new, by=by), version=TOP_UP_VERSION)

    shown, replayed = await created(context, "topUpQuota", given, make)
    return {"top_up": msgspec.convert(shown, GivenTopUp), "user_id": user_id, "replayed": replayed}


def overrides_of(listed: list[dict[str, Any]]) -> dict[str, Any]:
    """A list of overrides as the accounts keep them. `RequestError` INVALID_REQUEST: one is there twice, or of both."""
    sheets: dict[str, Any] = {}
    for each in listed:
        sheet, name = _sheet(sheets, each), each["name"]
        if name in sheet:
            raise invalid(f"{name} is there twice.", "overrides")
        value = each.get("value")
        sheet[name] = int(value) if isinstance(value, float) and value.is_integer() else value
    return sheets


def _sheet(sheets: dict[str, Any], each: Mapping[str, Any]) -> dict[str, Any]:
    model, endpoint = each.get("model"), each.get("endpoint")
    if model is not None and endpoint is not None:
        raise invalid("An override is of a model or of an endpoint, not of both.", "overrides")
    if model is not None:
        sheet: dict[str, Any] = sheets.setdefault("by_model", {}).setdefault(model, {})
        return sheet
    return sheets if endpoint is None else sheets.setdefault("by_endpoint", {}).setdefault(endpoint, {})


def listed(overrides: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The accounts' overrides as a list: those of all requests, of models, of endpoints."""
    yield from _limits(overrides)
    for what, sheets in (("model", "by_model"), ("endpoint", "by_endpoint")):
        for key, sheet in overrides.get(sheets, {}).items():
            yield from ({**each, what: key} for each in _limits(sheet))


def _limits(sheet: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    return ({"name": name, "value": sheet[name]} for name in LIMIT_NAMES if name in sheet)


async def top_ups(source: Any, info: Info, *, first: int | None, after: str | None = None) -> Connection:
    """Of a user, oldest first."""
    asked = wanted_page("TopUp", first, after)
    page = await reads.list_top_ups(info.context.edge.postgres, source.id, asked.request)
    return connection(page, asked, lambda one: one.id)


async def _after_top_up(source: Mapping[str, Any], info: Info) -> QuotaShown | None:
    user_id = source.get("user_id")
    return None if user_id is None else await quota_of(info.context, user_id)


TYPES = {
    "Quota": Type(
        QuotaShown,
        {
            "userId": of_type("User", "user_id"),
            "organisationId": of_type("Organisation", "organisation_id"),
            "overrides": lambda source, _: list(listed(source.overrides)),
        },
    ),
    "QuotaLimit": Type(QuotaLimit),
    "Override": Type(Mapping),
    "TopUp": Type(GivenTopUp, {"id": of_type("TopUp", "id"), "plainId": "id", "userId": of_type("User", "user_id")}),
    "OverrideQuotaPayload": Type(Mapping),
    "TopUpQuotaPayload": Type(
        Mapping, {"quota": _after_top_up, "replayed": lambda source, _: bool(source.get("replayed"))}
    ),
}
