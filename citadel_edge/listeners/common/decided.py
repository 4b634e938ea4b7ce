"""What was decided for requests, and what users thought of the answers: who sees what, at every door.

Users see their own, operators everybody's. Refuses to know how a decision is spelled.
"""

from dataclasses import dataclass
from typing import Any

from citadel_edge.accounts.pages import Page, PageRequest, page
from citadel_edge.accounts.principal import Principal, Role
from citadel_edge.completions.feedback_store import Feedback
from citadel_edge.completions.history import History, Wanted, is_decision_id
from citadel_edge.edge import Edge
from citadel_edge.errors import Code, RequestError


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFeedback:
    """What a client sends."""

    decision_id: str
    score: float
    comment: str | None = None


async def decision_page(history: History, wanted: Wanted, asked: PageRequest) -> tuple[Page[dict[str, Any]], bool]:
    """A page, latest first, and whether the database was asked too. `RequestError`: the cursor is none."""
    before = asked.key
    if before is not None and not is_decision_id(before):
        raise RequestError(Code.INVALID_REQUEST, "This is no cursor of ours: use `next` of a page.", param="after")
    found = await history.find(wanted, limit=asked.limit + 1, before=before)
    listed = page(found.decisions, asked, make=lambda shown: shown, key=lambda shown: shown["id"])
    return listed, found.complete


def only(principal: Principal) -> str | None:
    """Whose decisions the caller may see: null is everybody's."""
    return None if principal.role.may(Role.OPERATOR) else principal.user_id


def not_there() -> RequestError:
    """Another's decision is one that is not there."""
    return RequestError(Code.NOT_FOUND, "there is no such decision, or it is no longer kept")


async def give_feedback(edge: Edge, new: NewFeedback, *, user_id: str) -> Feedback:
    """Keep what a user thinks of the answer to a request of the user's own. Raises as the store; NOT_FOUND."""
    decision = await edge.history.get(new.decision_id, user_id=user_id)
    if decision is None:
        raise not_there()
    given = await edge.feedback.put(decision, user_id=user_id, score=new.score, comment=new.comment)
    edge.history.keep(new.decision_id)
    return given
