"""What a user thought of an answer."""

from typing import Any

from aiohttp import web

from citadel_edge.completions.feedback_store import LONGEST_COMMENT
from citadel_edge.edge import EDGE
from citadel_edge.listeners.common.decided import NewFeedback, give_feedback
from citadel_edge.listeners.common.middlewares import LISTENER
from citadel_edge.listeners.common.payload import one, read
from citadel_edge.listeners.common.routes import Route, principal_of

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


async def feedback(request: web.Request) -> web.StreamResponse:
    """`POST /v1/feedback`: of one's own requests only."""
    edge, new = request.app[EDGE], read(request, NewFeedback)
    user_id = principal_of(request).user_id
    return one(await edge.carry(give_feedback(edge, new, user_id=user_id), listener=request.app[LISTENER]))


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
