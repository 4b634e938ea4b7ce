"""What a user thought of an answer."""

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from citadel_edge.completions.feedback_store import LONGEST_COMMENT, Feedback
from citadel_edge.edge import EDGE, Edge
from citadel_edge.listeners.common.middlewares import LISTENER
from citadel_edge.listeners.common.payload import one, read
from citadel_edge.listeners.common.routes import Route, principal_of
from citadel_edge.listeners.routing.decisions import not_there

_BODY: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["decision_id", "score"],
    "properties": {
        "decision_id": {"type": "string", "description": "the answer's X-Citadel-Decision"},
        "score": {"type": "number", "minimum": 0, "maximum": 1},
        "comment": {"type": ["string", "null"], "maxLength": LONGEST_COMMENT},
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFeedback:
    """What a client sends."""

    decision_id: str
    score: float
    comment: str | None = None


async def feedback(request: web.Request) -> web.StreamResponse:
    """`POST /v1/feedback`: of one's own requests only."""
    edge, new = request.app[EDGE], read(request, NewFeedback)
    user_id = principal_of(request).user_id
    return one(await edge.carry(_give(edge, new, user_id), listener=request.app[LISTENER]))


async def _give(edge: Edge, new: NewFeedback, user_id: str) -> Feedback:
    decision = await edge.history.get(new.decision_id, user_id=user_id)
    if decision is None:
        raise not_there()
    given = await edge.feedback.put(decision, user_id=user_id, score=new.score, comment=new.comment)
    edge.history.keep(new.decision_id)
    return given


def feedback_routes() -> list[Route]:
    """One."""
    return [
        Route(
            method="POST",
            path="/v1/feedback",
            handler=feedback,
            summary="Say how good an answer was",
            json_body=True,
            request=_BODY,
            response={"type": "object"},
        )
    ]
