"""What checks and authorisations share: whose limits, which model, what it may cost, what is kept for the settlement.

Decides how a question about a request that we do not serve ourselves becomes a claim on the limits. Such a request
takes all of its charge until somebody settles it, and keeps it if nobody does. Refuses to know how it was asked for.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

import msgspec

from citadel_edge.accounts.entitlement import Entitlement
from citadel_edge.accounts.ledger.event import Outcome, UsageEvent
from citadel_edge.accounts.principal import Principal
from citadel_edge.config.shape import ListenerName
from citadel_edge.edge import Edge
from citadel_edge.errors import Code, RequestError
from citadel_edge.limits.claims import Claim, Decision
from citadel_edge.limits.plan import Who
from citadel_edge.limits.values import MOST, Spent, nano_of
from citadel_edge.routing.cost import Model
from citadel_edge.telemetry.ids import uuid7

LONGEST_NAME: Final = 256
LONGEST_ENDPOINT: Final = 512
MOST_TOKENS: Final = MOST
"""More is no request of anybody's."""


class Meta(msgspec.Struct, frozen=True, array_like=True):
    """What a reservation carries for whoever settles it: enough for its usage row, nothing secret.

    `at_unix_s`: when it was asked for.
    """

    request_id: str
    user_id: str
    key_id: str
    tier: str
    model: str
    endpoint: str
    at_unix_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request that somebody else serves, and wants to know whether it may be.

    Attributes:
        principal: whose it is. `key_id` is empty where only the user was named.
        model: as named; empty where nobody said. endpoint: of the other's API; empty likewise.
        tokens: in and out, as far as known.
        lease: whether it takes a lease of the concurrent requests until it is settled.
        ttl_s: how long it may be settled or renewed before it counts as ended.
        asked_at: our own endpoint, for rows without another.
    """

    request_id: str
    principal: Principal
    model: str = ""
    endpoint: str = ""
    tokens: int = 0
    lease: bool = True
    ttl_s: float
    asked_at: str


async def reserve(edge: Edge, asked: Asked) -> Decision:
    """Take the request's charge, or say why not; a denial is written down.

    Raises:
        RequestError: MODEL_NOT_ALLOWED; OVERLOADED while usage rows could not be kept.
    """
    edge.ledger.check_room()
    model = _allowed(edge, asked)
    meta = _meta(asked, asked.model if model is None else model.name, edge.clock.unix_s())
    decision = await edge.limiter.reserve(_claim(asked, model, meta))
    if not decision.allowed:
        row = usage_row(edge, meta, organisation_id=asked.principal.organisation_id, outcome=Outcome.DENIED)
        edge.ledger.record_denial(row, limit=_limit(decision))
    return decision


def known_model(edge: Edge, name: str) -> Model | None:
    """The configured model of a name or alias; null for another's."""
    try:
        return edge.pipeline.catalogue.resolve(name, lambda _: True)
    except RequestError:
        return None


def charge_of(model: Model | None, tokens: int) -> Spent:
    """What one request of so many tokens takes: at the dearer price, for nobody said which of them are an answer's."""
    if model is None:
        return Spent(1, tokens)
    return Spent(1, tokens, nano_of(max(model.cost_usd(tokens, 0), model.cost_usd(0, tokens))))


def meta_of(data: bytes) -> Meta:
    """What was kept for the settlement.

    Raises:
        RequestError: NOT_FOUND, it is none of ours.
    """
    try:
        return msgspec.json.decode(data, type=Meta)
    except msgspec.MsgspecError as error:
        raise RequestError(Code.NOT_FOUND, "There is no such reservation.", param="reservation") from error


def usage_row(
    edge: Edge,
    meta: Meta,
    *,
    organisation_id: str,
    outcome: Outcome,
    tokens: tuple[int, int] = (0, 0),
    cost_usd: Decimal = Decimal(0),
    ended_unix_s: float | None = None,
) -> UsageEvent:
    """The row of a request that another served; it ends now unless something else is said."""
    ended_s = edge.clock.unix_s() if ended_unix_s is None else ended_unix_s
    came = datetime.fromtimestamp(meta.at_unix_s, UTC)
    return UsageEvent(
        event_id=uuid7(edge.clock),
        request_id=meta.request_id,
        organisation_id=organisation_id,
        user_id=meta.user_id,
        key_id=meta.key_id,
        tier=meta.tier,
        model=meta.model,
        endpoint=meta.endpoint,
        listener=ListenerName.RATE_LIMITING.value,
        attempts=0,
        tokens_in=tokens[0],
        tokens_out=tokens[1],
        cost_usd=cost_usd,
        outcome=outcome,
        duration_ms=max(0.0, ended_s - meta.at_unix_s) * 1000,
        created_at=came,
    )


def _allowed(edge: Edge, asked: Asked) -> Model | None:
    """The configured model that is meant; one of others' is allowed by its own name."""
    if not asked.model:
        return None
    model = known_model(edge, asked.model)
    names = {asked.model} if model is None else {asked.model, model.name}
    if not any(asked.principal.may_use(name) for name in names):
        raise RequestError(
            Code.MODEL_NOT_ALLOWED, f"The tier does not include the model '{asked.model[:80]}'.", param="model"
        )
    return model


def _claim(asked: Asked, model: Model | None, meta: Meta) -> Claim:
    principal = asked.principal
    entitled, cost = principal.entitlement, charge_of(model, asked.tokens)
    return Claim(
        who=Who(
            organisation_id=principal.organisation_id,
            user_id=principal.user_id,
            entitlement=entitled,
            model=meta.model if _has_limits(entitled, model=meta.model) else "",
            endpoint=asked.endpoint if _has_limits(entitled, endpoint=asked.endpoint) else "",
        ),
        cost=cost,
        kept=cost,
        leases=asked.lease,
        ttl_s=asked.ttl_s,
        held=False,
        meta=msgspec.json.encode(meta),
        tier=principal.tier,
    )


def _has_limits(entitled: Entitlement, *, model: str = "", endpoint: str = "") -> bool:
    """Whether there are limits for this name alone. No other is part of a claim: clients choose them as they like."""
    sheets = entitled.tier, entitled.overrides, entitled.organisation
    return any(model in sheet.by_model or endpoint in sheet.by_endpoint for sheet in sheets)


def _meta(asked: Asked, model: str, now_unix_s: float) -> Meta:
    return Meta(
        request_id=asked.request_id,
        user_id=asked.principal.user_id,
        key_id=asked.principal.key_id,
        tier=asked.principal.tier,
        model=model,
        endpoint=asked.endpoint or asked.asked_at,
        at_unix_s=now_unix_s,
    )


def _limit(decision: Decision) -> str:
    """What a denial is counted by."""
    return decision.reason.value if decision.denied is None else decision.denied.name.value
