"""The routes of rate-limiting-api: checks for others' gateways, and the accounts.

Services check, operators read, admins change; a user reads what is the user's own.
"""

from collections.abc import Mapping
from typing import Final

from citadel_edge.accounts.api_keys import ApiKey, NewApiKey
from citadel_edge.accounts.audit import AuditEntry
from citadel_edge.accounts.organisations import NewOrganisation, OrganisationPatch
from citadel_edge.accounts.principal import Role
from citadel_edge.accounts.top_ups import GivenTopUp, NewTopUp
from citadel_edge.accounts.users import NewUser, User, UserPatch
from citadel_edge.config.shape import TierConfig
from citadel_edge.listeners.common.quotas import QuotaShown
from citadel_edge.listeners.common.routes import Handler, Route
from citadel_edge.listeners.rate_limiting import plans, quota, schemas, usage, users
from citadel_edge.listeners.rate_limiting.authorize import authorize_routes
from citadel_edge.listeners.rate_limiting.check import check_routes
from citadel_edge.listeners.rate_limiting.schemas import Schema, answered, listed, taken
from citadel_edge.listeners.rate_limiting.settle import settle_routes

_PAGE: Final = {"limit": "rows of a page, 1 to 200", "after": "the cursor that the page before named in `next`"}
_SPAN: Final = {
    "from": "a day as 2026-11-01, which is its beginning, or a time with its offset",
    "to": "as from; before then",
}
_USAGE: Final = {
    **_SPAN,
    "by": "a row for each of these, in this order, with commas; without it there are only totals",
    "format": "json, or csv with all rows at once; `Accept: text/csv` says the same",
    **_PAGE,
}
_USERS: Final = {
    "organisation": "an organisation's id",
    "tier": "a tier's name",
    "role": "user, service, operator or admin",
    "state": "active or suspended",
    "name": "the beginning of a name",
}
_AUDIT: Final = {
    "subject": "an id, or a tier's name",
    "who": "a user's id, or a part of the process",
    "action": "as create_user",
    **_SPAN,
}
_USER: Final = "/v1/users/{id}"
_QUOTA: Final = "/v1/users/{id}/quota"
_TOP_UPS: Final = "/v1/users/{id}/quota/top-ups"
_KEYS: Final = "/v1/users/{id}/keys"
_ORGANISATION: Final = "/v1/organisations/{id}"
_TIER: Final = "/v1/tiers/{name}"


def rate_limiting_routes() -> list[Route]:
    """All of them."""
    accounts = [*_user_routes(), *_quota_routes(), *_organisation_routes(), *_tier_routes(), _audit_route()]
    return [*check_routes(), *settle_routes(), *authorize_routes(), *accounts]


def _user_routes() -> list[Route]:
    user, key = answered(User), answered(ApiKey)
    return [
        _read("/v1/users", users.list_users, "Users", listed(user), {**_PAGE, **_USERS}),
        _read(_USER, users.get_user, "A user; `me` is you", user, role=Role.USER),
        _create("/v1/users", users.create_user, "Make a user", taken(NewUser), user),
        _patch(_USER, users.update_user, "Change, suspend or reactivate a user", taken(UserPatch), user),
        _delete(_USER, users.delete_user, "Delete a user, with keys, overrides and top-ups"),
        _read(_KEYS, users.list_keys, "A user's keys", listed(key), {**_PAGE, "state": "active, expired or revoked"}),
        _create(_KEYS, users.create_key, "Make a key; its text is shown once", taken(NewApiKey), schemas.made_key()),
        _create(
            f"{_KEYS}/{{key_id}}/rotate",
            users.rotate_key,
            "Put a new key in a key's place",
            taken(users.Rotation),
            schemas.made_key(),
        ),
        _delete(f"{_KEYS}/{{key_id}}", users.revoke_key, "End a key everywhere", key),
    ]


def _quota_routes() -> list[Route]:
    shown = schemas.overrides(answered(QuotaShown))
    top_up = answered(GivenTopUp)
    sums = schemas.usage("user_id", usage.OF_USERS)
    return [
        _read(_QUOTA, quota.get_quota, "What limits a user and what is left; `me` is you", shown, role=Role.USER),
        _patch(
            _QUOTA,
            quota.set_overrides,
            "Replace a user's overrides: what they do not name is the tier's, null is no limit",
            schemas.overrides(taken(quota.QuotaPatch)),
            shown,
        ),
        _read(_TOP_UPS, quota.list_top_ups, "A user's top-ups", listed(top_up), _PAGE, role=Role.USER),
        _create(_TOP_UPS, quota.create_top_up, "Give tokens or dollars on top of the quotas", taken(NewTopUp), top_up),
        _delete(f"{_TOP_UPS}/{{top_up_id}}", quota.delete_top_up, "Take back what is left of a top-up"),
        _read(f"{_USER}/usage", usage.user_usage, "What a user used; `me` is you", sums, _USAGE, role=Role.USER),
    ]


def _organisation_routes() -> list[Route]:
    one = schemas.organisation()
    sums = schemas.usage("organisation_id", usage.OF_ORGANISATIONS)
    new, patch = schemas.organisation(taken(NewOrganisation)), schemas.organisation(taken(OrganisationPatch))
    named = {**_PAGE, "name": "the beginning of a name"}
    return [
        _read("/v1/organisations", plans.list_organisations, "Organisations", listed(one), named),
        _read(_ORGANISATION, plans.get_organisation, "An organisation", one),
        _create("/v1/organisations", plans.create_organisation, "Make an organisation", new, one),
        _patch(_ORGANISATION, plans.update_organisation, "Change an organisation; `limits` as a whole", patch, one),
        _delete(_ORGANISATION, plans.delete_organisation, "Delete an organisation without users"),
        _read(f"{_ORGANISATION}/usage", usage.organisation_usage, "What an organisation used", sums, _USAGE),
    ]


def _tier_routes() -> list[Route]:
    one = schemas.tier()
    return [
        _read("/v1/tiers", plans.list_tiers, "Tiers", listed(one), _PAGE),
        _read(_TIER, plans.get_tier, "A tier", one),
        _create("/v1/tiers", plans.create_tier, "Make a tier", taken(TierConfig), one),
        _patch(_TIER, plans.update_tier, "Change the given fields of a tier", schemas.tier_patch(), one),
        _delete(_TIER, plans.delete_tier, "Delete a tier without users"),
    ]


def _audit_route() -> Route:
    return _read("/v1/audit", plans.list_audit, "Who changed what", listed(answered(AuditEntry)), {**_PAGE, **_AUDIT})


def _read(
    path: str,
    handler: Handler,
    summary: str,
    response: Schema,
    query: Mapping[str, str] | None = None,
    *,
    role: Role = Role.OPERATOR,
) -> Route:
    return Route(
        method="GET", path=path, handler=handler, summary=summary, role=role, response=response, query=query or {}
    )


def _create(path: str, handler: Handler, summary: str, request: Schema, response: Schema) -> Route:
    return Route(
        method="POST",
        path=path,
        handler=handler,
        summary=f"{summary}. With an `Idempotency-Key` it is made once",
        role=Role.ADMIN,
        ends_with_key=False,
        json_body=True,
        request=request,
        response=response,
        status=201,
    )


def _patch(path: str, handler: Handler, summary: str, request: Schema, response: Schema) -> Route:
    return Route(
        method="PATCH",
        path=path,
        handler=handler,
        summary=summary,
        role=Role.ADMIN,
        ends_with_key=False,
        json_body=True,
        request=request,
        response=response,
    )


def _delete(path: str, handler: Handler, summary: str, response: Schema | None = None) -> Route:
    return Route(
        method="DELETE",
        path=path,
        handler=handler,
        summary=summary,
        role=Role.ADMIN,
        ends_with_key=False,
        response=response,
        status=204 if response is None else 200,
    )
