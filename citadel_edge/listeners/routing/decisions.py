"""What was decided for requests, and what came of it. Users see their own, operators everybody's."""

from aiohttp import web

from citadel_edge.accounts.ledger.event import Outcome
from citadel_edge.accounts.values import plain
from citadel_edge.completions.history import Wanted
from citadel_edge.edge import EDGE
from citadel_edge.errors import Code, RequestError
from citadel_edge.listeners.common.decided import decision_page, not_there, only
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
    listed, complete = await decision_page(request.app[EDGE].history, _wanted(request), wanted_page(request))
    return one({"data": listed.data, "next": listed.next, "complete": complete})


async def decision(request: web.Request) -> web.StreamResponse:
    """`GET /v1/decisions/{id}`."""
    user_id = only(principal_of(request))
    shown = await request.app[EDGE].history.get(request.match_info["id"], user_id=user_id)
    if shown is None:
        raise not_there()
    return one(shown)


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
