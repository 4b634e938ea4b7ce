"""The routes of rate-limiting-api: the accounts. Operators read, admins change."""

from collections.abc import Sequence
from typing import Any

from citadel_edge.accounts.principal import Role
from citadel_edge.listeners.common.routes import Handler, Route
from citadel_edge.listeners.rate_limiting import plans, users

_PAGE = {"limit": "rows of a page, 1 to 200", "after": "the cursor that the page before named in `next`"}
_OBJECT: dict[str, Any] = {"type": "object"}
_LIST: dict[str, Any] = {
    "type": "object",
    "required": ["data", "next"],
    "properties": {"data": {"type": "array"}, "next": {"type": ["string", "null"]}},
}

_READS: Sequence[tuple[str, Handler, str]] = (
    ("/v1/users/{id}", users.get_user, "A user"),
    ("/v1/organisations/{id}", plans.get_organisation, "An organisation"),
    ("/v1/tiers/{name}", plans.get_tier, "A tier"),
)
_LISTS: Sequence[tuple[str, Handler, str, dict[str, str]]] = (
    ("/v1/users", users.list_users, "Users", {"organisation": "an organisation's id", "tier": "a tier's name"}),
    ("/v1/users/{id}/keys", users.list_keys, "A user's keys", {}),
    ("/v1/organisations", plans.list_organisations, "Organisations", {}),
    ("/v1/tiers", plans.list_tiers, "Tiers", {}),
    ("/v1/audit", plans.list_audit, "Who changed what", {"subject": "an id, or a tier's name"}),
)
_CHANGES: Sequence[tuple[str, str, Handler, str, int]] = (
    ("POST", "/v1/users", users.create_user, "Make a user", 201),
    ("PATCH", "/v1/users/{id}", users.update_user, "Change, suspend or reactivate a user", 200),
    ("DELETE", "/v1/users/{id}", users.delete_user, "Delete a user and the keys", 204),
    ("POST", "/v1/users/{id}/keys", users.create_key, "Make a key; its text is shown once", 201),
    ("POST", "/v1/users/{id}/keys/{key_id}/rotate", users.rotate_key, "Put a new key in a key's place", 201),
    ("DELETE", "/v1/users/{id}/keys/{key_id}", users.revoke_key, "End a key everywhere", 200),
    ("POST", "/v1/organisations", plans.create_organisation, "Make an organisation", 201),
    ("PATCH", "/v1/organisations/{id}", plans.update_organisation, "Change an organisation", 200),
    ("DELETE", "/v1/organisations/{id}", plans.delete_organisation, "Delete an organisation without users", 204),
    ("POST", "/v1/tiers", plans.create_tier, "Make a tier", 201),
    ("PATCH", "/v1/tiers/{name}", plans.update_tier, "Change a tier", 200),
    ("DELETE", "/v1/tiers/{name}", plans.delete_tier, "Delete a tier without users", 204),
)


def rate_limiting_routes() -> list[Route]:
    """All of them."""
    return [
        *(
            Route(method="GET", path=path, handler=handler, summary=summary, role=Role.OPERATOR, response=_OBJECT)
            for path, handler, summary in _READS
        ),
        *(
            Route(
                method="GET",
                path=path,
                handler=handler,
                summary=summary,
                role=Role.OPERATOR,
                response=_LIST,
                query={**_PAGE, **filters},
            )
            for path, handler, summary, filters in _LISTS
        ),
        *(
            Route(
                method=method,
                path=path,
                handler=handler,
                summary=summary,
                role=Role.ADMIN,
                ends_with_key=False,
                json_body=method != "DELETE",
                response=None if status == 204 else _OBJECT,  # noqa: PLR2004 - the HTTP status
                status=status,
            )
            for method, path, handler, summary, status in _CHANGES
        ),
    ]
