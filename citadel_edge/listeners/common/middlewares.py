"""What every request passes, in this order, the same at all four doors. Nothing is decided here but who may go on."""

import asyncio

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from citadel_edge.accounts.directory import Directory
from citadel_edge.accounts.principal import Principal
from citadel_edge.budgets.budget import Seat
from citadel_edge.config.shape import ListenerName
from citadel_edge.edge import EDGE
from citadel_edge.errors import Code, RequestError
from citadel_edge.health.verdict import ListenerState
from citadel_edge.listeners.common.body import Holding, read_json_body
from citadel_edge.listeners.common.problems import SERVER, as_request_error, internal_error, respond
from citadel_edge.listeners.common.routes import BODY, PASSAGE, REDEEM, ROUTES, Admission, Handler, Passage, Route
from citadel_edge.listeners.common.sink import ClientGone
from citadel_edge.listeners.common.subscriptions import Subscriptions
from citadel_edge.telemetry.ids import request_id, valid_request_id
from citadel_edge.telemetry.trace import child

LISTENER = web.AppKey("listener", ListenerName)
HOLDING = web.RequestKey("holding", Holding)
SEAT = web.RequestKey("seat", Seat)
SUBSCRIPTIONS = web.AppKey("subscriptions", Subscriptions)
LOG: web.AppKey[FilteringBoundLogger] = web.AppKey("log")
CLIENT_GONE = 499  # nginx's number for a client that left before its answer


@web.middleware
async def record_passage(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request its id and trace; say one line of it when it is over."""
    clock = request.app[EDGE].clock
    passage = Passage(
        request_id=_identity(request),
        trace=child(request.headers.get("traceparent")),
        route=_route(request),
        began_s=clock.monotonic_s(),
    )
    request[PASSAGE] = passage
    status = CLIENT_GONE
    try:
        answer = await handler(request)
        status = answer.status
        return answer
    finally:
        _say(request, passage, status)


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Map what was raised below to an answer; once an answer has begun it can only be broken off."""
    try:
        return await handler(request)
    except ClientGone:
        raise asyncio.CancelledError("the client is gone") from None
    except Exception as error:
        known = as_request_error(error)
        if known is None:
            request.app[LOG].exception("unhandled", request_id=request[PASSAGE].request_id)
            known = internal_error()
        return _error_answer(request, known)


@web.middleware
async def heed_state(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A stopped listener keeps its port and answers so; health and metrics stay."""
    state = request.app[EDGE].board.states[request.app[LISTENER]]
    route = request[PASSAGE].route
    if state is ListenerState.RUNNING or (route is not None and route.admission is Admission.EXEMPT):
        return await handler(request)
    raise RequestError(
        Code.LISTENER_STOPPED, f"{request.app[LISTENER].value} is {state.value}; try again later", retry_after_s=5
    )


@web.middleware
async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every route but the open ones demands a key, and a role that covers the route's."""
    passage = request[PASSAGE]
    if passage.route is None or passage.route.role is None:
        return await handler(request)
    passage.principal = principal = await _principal(request, passage.route)
    if not principal.role.may(passage.route.role):
        raise RequestError(
            Code.FORBIDDEN,
            f"this route needs the role {passage.route.role.value}; this key's user has {principal.role.value}",
        )
    if not passage.route.ends_with_key:
        return await handler(request)
    with request.app[EDGE].presence.of(principal):
        return await handler(request)


@web.middleware
async def take_seat(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Read the body, bounded; then wait, bounded, for a seat of the listener's budget. Subscriptions have places."""
    route = request[PASSAGE].route
    if route is None or route.admission is Admission.EXEMPT:
        return await handler(request)
    edge = request.app[EDGE]
    budget = edge.budgets[request.app[LISTENER]]
    if route.admission is Admission.SEAT:
        budget.storage.check_room()
    with Holding(budget) as held:
        request[HOLDING] = held
        request[BODY] = await read_json_body(request, edge.config.value.http, held) if route.json_body else b""
        if route.admission is Admission.SUBSCRIPTION:
            with request.app[SUBSCRIPTIONS].one(edge.config.value.http.max_subscriptions):
                return await handler(request)
        async with budget.admit() as seat:
            request[SEAT] = seat
            return await handler(request)


MIDDLEWARES = (record_passage, answer_errors, heed_state, authenticate, take_seat)


async def stamp(request: web.Request, response: web.StreamResponse) -> None:
    """Every answer carries the request's id, and says nothing of what it was made with."""
    response.headers["Server"] = SERVER
    passage = request.get(PASSAGE)
    if passage is not None:
        response.headers["X-Request-Id"] = passage.request_id


def _route(request: web.Request) -> Route | None:
    route = request.app[ROUTES].get(request.match_info.handler)
    return route if route is None or route.choose is None else route.choose(request)


def _identity(request: web.Request) -> str:
    asked = request.headers.get("X-Request-Id")
    if asked is not None and valid_request_id(asked):
        return asked
    return request_id(request.app[EDGE].clock)


async def _principal(request: web.Request, route: Route) -> Principal:
    credentials = request.headers.get("Authorization", "")
    if not credentials and route.tickets and "ticket" in request.query:
        return await request.app[REDEEM](request.query["ticket"])
    return await bearer(request.app[EDGE].directory, credentials)


async def bearer(directory: Directory, credentials: str) -> Principal:
    """Who `Bearer <key>` is. Raises as `Directory.authenticate`."""
    scheme, _, key = credentials.partition(" ")
    key = key.strip()
    if scheme.lower() != "bearer" or not key:
        raise RequestError(Code.INVALID_API_KEY, "send an API key: `Authorization: Bearer <key>`")
    return directory.lookup(key) or await directory.authenticate(key)


def _error_answer(request: web.Request, error: RequestError) -> web.StreamResponse:
    passage = request[PASSAGE]
    passage.facts.setdefault("code", error.code.text)
    if request.writer.output_size > 0:
        if request.transport is not None:
            request.transport.close()
        raise asyncio.CancelledError("the answer had begun")
    route = passage.route
    answer = respond(error, passage.request_id, openai=route is not None and route.openai_errors)
    return answer if route is None or route.retell is None else route.retell(request, answer)


def _say(request: web.Request, passage: Passage, status: int) -> None:
    app = request.app
    duration_s = app[EDGE].clock.monotonic_s() - passage.began_s
    route = passage.route
    exempt = route is not None and route.admission is Admission.EXEMPT
    said = app[LOG].debug if exempt else app[LOG].info
    principal = passage.principal
    who = {"user": principal.user_id, "tier": principal.tier} if principal is not None else {}
    said(
        "request",
        request_id=passage.request_id,
        trace_id=passage.trace.trace_id,
        method=request.method,
        route=route.path if route is not None else "unknown",
        status=status,
        duration_ms=round(duration_s * 1000, 3),
        **{**who, **passage.facts},
    )
