"""`POST /v1/check`: may this request of this user be served? For gateways that serve it themselves.

A denial is an answer, not an error: 200 with `allowed: false` and its reason, or 429 with `?status=1` for those who
only look at the status. Errors are for the asking service: a wrong body, an unknown user, more tokens than a limit ever
grants.
"""

from dataclasses import dataclass, field
from typing import Annotated, Final

import msgspec
from aiohttp import web

from citadel_edge.accounts.principal import Principal, Role
from citadel_edge.edge import EDGE, Edge
from citadel_edge.errors import Code, RequestError
from citadel_edge.limits.claims import Decision, Reason
from citadel_edge.limits.headers import limit_headers
from citadel_edge.limits.refusals import code_of, refusal
from citadel_edge.limits.values import Standing
from citadel_edge.listeners.common.payload import one, read
from citadel_edge.listeners.common.routes import PASSAGE, Route
from citadel_edge.listeners.rate_limiting.reservations import (
    LONGEST_ENDPOINT,
    LONGEST_NAME,
    MOST_TOKENS,
    Asked,
    reserve,
)
from citadel_edge.listeners.rate_limiting.schemas import answered, bounded

PATH: Final = "/v1/check"
LONGEST_TTL_S: Final = 3600
TTL_S: Final = 60.0
_LONGEST_KEY: Final = 256
_DENIED: Final = frozenset({Code.INVALID_API_KEY, Code.SUSPENDED, Code.MODEL_NOT_ALLOWED})
"""What is the answer to the question, not a fault of whoever asks."""

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_NAME)]
Tokens = Annotated[int, msgspec.Meta(ge=0, le=MOST_TOKENS)]
Life = Annotated[float, msgspec.Meta(ge=1, le=LONGEST_TTL_S, description=f"seconds from now, {TTL_S:g} by default")]
_Key = Annotated[str, msgspec.Meta(max_length=_LONGEST_KEY, description="the API key that the request came with")]
_User = Annotated[str, msgspec.Meta(max_length=LONGEST_NAME, description="or its user's id")]
_Estimate = Annotated[int, msgspec.Meta(ge=0, le=MOST_TOKENS, description="in and out, estimated")]
_Endpoint = Annotated[str, msgspec.Meta(max_length=LONGEST_ENDPOINT)]
_Lease = Annotated[bool, msgspec.Meta(description="whether it counts as a concurrent request until its end")]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRequest:
    """One of `key` and `user`, and what is known of the request."""

    key: _Key | None = field(default=None, repr=False)
    user: _User | None = None
    model: Name | None = None
    tokens: _Estimate | None = None
    endpoint: _Endpoint | None = None
    ttl_s: Life | None = None
    lease: _Lease = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One limit as it is after the decision, in its own unit. `reset_s`: until it is wholly free again."""

    name: str
    scope: str
    limit: float
    remaining: float
    reset_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckAnswer:
    """The answer.

    `reservation`: to be settled, renewed or released within `expires_in_s`; null when denied. `reason`: the code that
    the request would be refused with. `degraded`: decided without Redis.
    """

    allowed: bool
    reservation: str | None
    limits: tuple[Limit, ...]
    retry_after_s: float | None
    reason: str | None
    degraded: bool
    expires_in_s: float | None


async def check(request: web.Request) -> web.StreamResponse:
    """`POST /v1/check`."""
    edge, wanted = request.app[EDGE], read(request, CheckRequest)
    passage = request[PASSAGE]
    try:
        principal = await _principal(edge, wanted)
        passage.facts["checked_user"] = principal.user_id
        decision = await reserve(edge, _asked(passage.request_id, principal, wanted))
    except RequestError as error:
        if error.code not in _DENIED:
            raise
        return _told(request, _shut_out(error.code), {})
    if decision.reason is Reason.TOO_LARGE:
        raise refusal(decision, param="tokens")
    answer = _answer(decision, wanted.ttl_s or TTL_S)
    return _told(request, answer, limit_headers(decision.standings, degraded=decision.degraded))


async def _principal(edge: Edge, wanted: CheckRequest) -> Principal:
    if wanted.key is not None and wanted.user is None:
        return edge.directory.lookup(wanted.key) or await edge.directory.authenticate(wanted.key)
    if wanted.user is not None and wanted.key is None:
        return await edge.directory.entitled(wanted.user)
    raise RequestError(
        Code.INVALID_REQUEST, "say whose request it is: one of `key` (an API key) and `user` (a user's id)", param="key"
    )


def _asked(request_id: str, principal: Principal, wanted: CheckRequest) -> Asked:
    return Asked(
        request_id=request_id,
        principal=principal,
        model=wanted.model or "",
        endpoint=wanted.endpoint or "",
        tokens=wanted.tokens or 0,
        lease=wanted.lease,
        ttl_s=wanted.ttl_s or TTL_S,
        asked_at=PATH,
    )


def _answer(decision: Decision, ttl_s: float) -> CheckAnswer:
    reservation = decision.reservation
    return CheckAnswer(
        allowed=decision.allowed,
        reservation=None if reservation is None else reservation.id,
        limits=tuple(map(_limit, decision.standings)),
        retry_after_s=None if decision.retry_after_s is None else round(decision.retry_after_s, 3),
        reason=None if decision.allowed else code_of(decision).text,
        degraded=decision.degraded,
        expires_in_s=None if reservation is None else ttl_s,
    )


def _shut_out(code: Code) -> CheckAnswer:
    """Who does not get as far as the limits."""
    return CheckAnswer(
        allowed=False,
        reservation=None,
        limits=(),
        retry_after_s=None,
        reason=code.text,
        degraded=False,
        expires_in_s=None,
    )


def _limit(one: Standing) -> Limit:
    return Limit(
        name=one.name.value,
        scope=one.scope,
        limit=one.limit,
        remaining=one.remaining,
        reset_s=round(one.reset_s, 3),
    )


def _told(request: web.Request, answer: CheckAnswer, headers: dict[str, str]) -> web.StreamResponse:
    request[PASSAGE].facts.update(allowed=answer.allowed, reason=answer.reason, reservation=answer.reservation)
    status = 429 if not answer.allowed and request.query.get("status") == "1" else 200
    response = one(answer, status=status)
    response.headers.update(headers)
    return response


def check_routes() -> list[Route]:
    """One."""
    return [
        Route(
            method="POST",
            path=PATH,
            handler=check,
            summary="May this request of this user be served?",
            role=Role.SERVICE,
            json_body=True,
            query={"status": "1: a denial is answered 429 rather than 200"},
            request=bounded(CheckRequest),
            response=answered(CheckAnswer),
        )
    ]
