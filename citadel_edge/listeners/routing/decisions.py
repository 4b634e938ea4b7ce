"""What was decided for requests, and what came of it. Users see their own, operators everybody's."""

from aiohttp import web

from citadel_edge.accounts.ledger.event import Outcome
from citadel_edge.accounts.pages import page
from citadel_edge.accounts.principal import Principal, Role
from citadel_edge.accounts.values import plain
from citadel_edge.completions.history import Wanted, is_decision_id
from citadel_edge.edge import EDGE
from citadel_edge.errors import Code, RequestError
from citadel_edge.listeners.common.payload import one, wanted_page
from citadel_edge.listeners.common.routes import Route, principal_of

_OUTCOMES = tuple(outcome.value for outcome in Outcome)
_LIST = {
    "type": "object",
    "required": ["data", "next", "complete"],
    "properties": {
        "data": {"type": "array"},
        "next": {"type": ["string", "null"]},
        "complete": {"type": "boolean", "description": "false: the database is away, these are in memory alone"},
    },
}
_QUERY = {
    "limit": "rows of a page, 1 to 200",
    "after": "the cursor that the page before named in `next`",
    "model": "a model's own name, or the name that was asked for",
    "upstream": "an upstream that was called",
    "outcome": f"how the request ended: {', '.join(_OUTCOMES)}",
}


async def decisions(request: web.Request) -> web.StreamResponse:
    """`GET /v1/decisions`, latest first."""
    asked = wanted_page(request)
    before = asked.key
    if before is not None and not is_decision_id(before):
        raise RequestError(Code.INVALID_REQUEST, "This is no cursor of ours: use `next` of a page.", param="after")
    found = await request.app[EDGE].history.find(_wanted(request), limit=asked.limit + 1, before=before)
    listed = page(found.decisions, asked, make=lambda shown: shown, key=lambda shown: shown["id"])
    return one({"data": listed.data, "next": listed.next, "complete": found.complete})


async def decision(request: web.Request) -> web.StreamResponse:
    """`GET /v1/decisions/{id}`."""
    user_id = only(principal_of(request))
    shown = await request.app[EDGE].history.get(request.match_info["id"], user_id=user_id)
    if shown is None:
        raise not_there()
    return one(shown)


def only(principal: Principal) -> str | None:
    """Whose decisions the caller may see: null is everybody's."""
    return None if principal.role.may(Role.OPERATOR) else principal.user_id


def not_there() -> RequestError:
    """Another's decision is one that is not there."""
    return RequestError(Code.NOT_FOUND, "there is no such decision, or it is no longer kept")


def decision_routes() -> list[Route]:
    """For every key: a user's own requests are explained to the user."""
    return [
        Route(
            method="GET",
            path="/v1/decisions",
            handler=decisions,
            summary="What was decided for requests",
            response=_LIST,
            query=_QUERY,
        ),
        Route(
            method="GET",
            path="/v1/decisions/{id}",
            handler=decision,
            summary="One decision: candidates, scores, attempts",
            response={"type": "object"},
        ),
    ]


def _wanted(request: web.Request) -> Wanted:
    query = {
        name: plain(text, param=name) for name in ("model", "upstream", "outcome") if (text := request.query.get(name))
    }
    outcome = query.get("outcome")
    if outcome is not None and outcome not in _OUTCOMES:
        message = f"there is no outcome {outcome[:40]!r}; there are {', '.join(_OUTCOMES)}"
        raise RequestError(Code.INVALID_REQUEST, message, param="outcome")
    return Wanted(user_id=only(principal_of(request)), **query)
