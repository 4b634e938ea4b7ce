"""What a route is, and what a request carries on its way through the middlewares."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from aiohttp import web

from citadel_edge.accounts.principal import Principal, Role
from citadel_edge.telemetry.trace import Trace

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Schema = Mapping[str, Any]
Retell = Callable[[web.Request, web.Response], web.Response]
Choose = Callable[[web.Request], "Route"]
Redeem = Callable[[str], Awaitable[Principal]]


class Admission(StrEnum):
    """What a route takes of its listener while it runs.

    `exempt`: nothing, it answers whatever the state. `seat`: a seat of the budget. `subscription`: one of the many
    places for connections that mostly wait, which must not keep working requests out.
    """

    EXEMPT = "exempt"
    SEAT = "seat"
    SUBSCRIPTION = "subscription"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One route of a listener.

    Attributes:
        method: `*` for whichever a client uses.
        role: the weakest role that may call it; null is open to everybody, without a key.
        admission: what it takes of the listener: nothing (health and metrics), a seat, or a subscription.
        json_body: whether a JSON body is read, bounded, before a seat is taken.
        openai_errors: errors in OpenAI's shape rather than problem details.
        tickets: whether `?ticket=` may stand for the key, where browsers cannot set headers.
        ends_with_key: whether a running request ends when its key does; a change of accounts may end its own key.
        may_wait: 202 with the same answer says that it is accepted and carried out later.
        retell: what becomes of the answer to a request that failed, at whatever step, where its reader cannot relay it
            as it is.
        choose: which route a request is for in fact, where one path speaks several protocols. It raises nothing.
        request: JSON Schema of the body. response: of the answer. query: names and descriptions.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    role: Role | None = Role.USER
    admission: Admission = Admission.SEAT
    json_body: bool = False
    openai_errors: bool = False
    request: Schema | None = None
    response: Schema | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    tickets: bool = False
    may_wait: bool = False
    ends_with_key: bool = True
    retell: Retell | None = None
    choose: Choose | None = None


@dataclass(slots=True, kw_only=True)
class Passage:
    """One request's way through the door: who, what, and what there is to say of it in the log."""

    request_id: str
    trace: Trace
    route: Route | None
    began_s: float
    principal: Principal | None = None
    facts: dict[str, Any] = field(default_factory=dict)


PASSAGE: web.RequestKey[Passage] = web.RequestKey("passage", Passage)
BODY: web.RequestKey[bytes] = web.RequestKey("body", bytes)
REDEEM: web.AppKey[Redeem] = web.AppKey("redeem")
"""Who a ticket was given to; a listener that has routes with `tickets` sets it."""
ROUTES: web.AppKey[Mapping[Handler, Route]] = web.AppKey("routes", Mapping)


def principal_of(request: web.Request) -> Principal:
    """The authenticated caller. Only on routes that demand a role."""
    principal = request[PASSAGE].principal
    if principal is None:
        raise LookupError("this route is open: nobody was authenticated")
    return principal
