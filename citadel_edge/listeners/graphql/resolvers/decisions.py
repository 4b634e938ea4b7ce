"""What was decided for requests and what came of it; where one would go, and what it would cost.

Users see their own, operators everybody's. Refuses to know how anything is decided.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from citadel_edge.completions.call import Call
from citadel_edge.completions.feedback_store import Feedback
from citadel_edge.completions.history import Wanted
from citadel_edge.graph.context import plain
from citadel_edge.limits.claims import Decision as Decided
from citadel_edge.limits.values import Standing
from citadel_edge.listeners.common.decided import NewFeedback, decision_page, give_feedback, only
from citadel_edge.listeners.graphql.binding import Type
from citadel_edge.listeners.graphql.context import Context
from citadel_edge.listeners.graphql.resolvers.asking import call_of, policy_and_request
from citadel_edge.listeners.graphql.resolvers.connections import Connection, connection, wanted_page
from citadel_edge.listeners.graphql.resolvers.ids import global_id, plain_id
from citadel_edge.listeners.graphql.resolvers.models import skills
from citadel_edge.listeners.graphql.resolvers.pricing import most_of
from citadel_edge.listeners.graphql.resolvers.told import Info, payload

Shown = Mapping[str, Any]


async def decisions(
    _: None, info: Info, *, first: int | None, after: str | None = None, wanted: dict[str, Any] | None = None
) -> Connection:
    """Latest first."""
    context, asked, named = info.context, wanted_page("Decision", first, after), dict(wanted or {})
    upstream = named.get("upstream")
    if upstream is not None:
        named["upstream"] = plain_id("Upstream", upstream)
    whose = Wanted(user_id=only(context.principal), **named)
    page, complete = await decision_page(context.edge.history, whose, asked.request)
    return connection(page, asked, lambda shown: shown["id"], complete=complete)


async def decision(_: None, info: Info, identity: str) -> Shown | None:
    """One."""
    return await decision_of(info.context, plain_id("Decision", identity))


async def decision_of(context: Context, identity: str | None) -> Shown | None:
    """The one of this id, if the caller may see it."""
    if identity is None:
        return None
    return await context.edge.history.get(identity, user_id=only(context.principal))


async def explain_route(_: None, info: Info, given: dict[str, Any]) -> Shown:
    """As `POST /v1/route`."""
    call = _asked(info.context, given)
    pipeline = info.context.edge.pipeline
    return {**pipeline.explain(call).explained(), "limits": await pipeline.look(call)}


async def estimate(_: None, info: Info, given: dict[str, Any]) -> Shown:
    """What it would cost, by the same code that decides and charges."""
    context = info.context
    call, pipeline = _asked(context, given), context.edge.pipeline
    decision = pipeline.explain(call)
    explained, most = decision.explained(), most_of(context, call, decision)
    name = explained["model"]
    model = next((one for one in pipeline.catalogue if one.name == name), None)
    tokens = (most.tokens_in, most.tokens_out)
    return {
        **explained["estimate"],
        "model": name,
        "upstream": explained["chosen"],
        "most_tokens_out": most.tokens_out,
        "most_cost_usd": Decimal(0) if model is None else pipeline.asking.most_usd(model, tokens),
        "cost": plain(most.units(context)),
        "cost_limit": context.spent.limit,
        "limits": await pipeline.look(call),
    }


@payload
async def send_feedback(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Of one's own requests only."""
    new = NewFeedback(
        decision_id=plain_id("Decision", given["decision_id"]), score=given["score"], comment=given.get("comment")
    )
    giving = give_feedback(context.edge, new, user_id=context.principal.user_id)
    return {"feedback": await context.edge.carry(giving, listener=context.parts.changing.listener)}


def _asked(context: Context, given: dict[str, Any]) -> Call:
    request, _ = policy_and_request(given)
    return call_of(context, given, request)


def _parts(source: Shown, _: Info) -> list[dict[str, Any]]:
    return [{"name": name, "value": value} for name, value in source["parts"].items()]


_FEATURES = {"tasks": lambda source, _: skills(source["tasks"])}

TYPES = {
    "Decision": Type(
        Mapping,
        {
            "id": lambda source, _: global_id("Decision", source["id"]),
            "plainId": "id",
            "userId": lambda source, _: global_id("User", source["user_id"]),
        },
    ),
    "RouteExplanation": Type(Mapping),
    "RequestFeatures": Type(Mapping, _FEATURES),
    "ScorePart": Type(Mapping),
    "Exclusion": Type(Mapping),
    "ModelScore": Type(Mapping, {"parts": _parts}),
    "Candidate": Type(Mapping, {"parts": _parts}),
    "Estimate": Type(Mapping),
    "CostEstimate": Type(Mapping),
    "Attempt": Type(Mapping),
    "LimitOutlook": Type(Decided),
    "Standing": Type(Standing),
    "Feedback": Type(Feedback),
    "SendFeedbackPayload": Type(Mapping),
}
