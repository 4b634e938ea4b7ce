"""graphql-sse, single connection: operations are sent one by one over HTTP, and answered on one stream of events.

`PUT` reserves, `GET` opens the stream, `POST` has an operation run, `DELETE` ends one. The token opens the stream by
itself where browsers cannot send a key. A reservation is this process's own: with several instances behind a gateway
its requests have to reach the same one.
"""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final

import msgspec
from aiohttp import web

from citadel_edge.accounts.presence import Reason, reason_of
from citadel_edge.accounts.principal import Principal
from citadel_edge.completions.call import hold_uncounted
from citadel_edge.edge import EDGE
from citadel_edge.errors import Code, RequestError
from citadel_edge.graph.answers import Refused
from citadel_edge.graph.preparing import Prepared
from citadel_edge.groups import plain_group
from citadel_edge.listeners.common.leaving import ended_by_us
from citadel_edge.listeners.common.middlewares import LISTENER, LOG, bearer
from citadel_edge.listeners.common.problems import internal_error
from citadel_edge.listeners.common.routes import BODY, PASSAGE, principal_of
from citadel_edge.listeners.common.sink import ClientGone
from citadel_edge.listeners.common.sse import EventStream
from citadel_edge.listeners.graphql.accept import read_accept
from citadel_edge.listeners.graphql.asking import wanted_in_body
from citadel_edge.listeners.graphql.http import caller_of, refusal_answer
from citadel_edge.listeners.graphql.metrics import Transport
from citadel_edge.listeners.graphql.reservations import Operation, Reservation, Reservations, Say
from citadel_edge.listeners.graphql.service import SERVICE, Caller, error_payload
from citadel_edge.listeners.graphql.sse import event_stream

TOKEN: Final = "X-GraphQL-Event-Stream-Token"  # noqa: S105 - a header's name
_QUERY_TOKEN: Final = "token"  # noqa: S105 - a parameter's name
_ENCODER: Final = msgspec.json.Encoder()
RESERVATIONS: web.AppKey[Reservations] = web.AppKey("reservations", Reservations)


def token_of(request: web.Request) -> str | None:
    """The reservation that a request belongs to, if it names one."""
    return request.headers.get(TOKEN) or request.query.get(_QUERY_TOKEN) or None


async def reserve(request: web.Request) -> web.StreamResponse:
    """`PUT /graphql`: 201 with a token."""
    place = request.app[RESERVATIONS].make(principal_of(request))
    return web.Response(status=201, text=place.token, headers={"Cache-Control": "no-store"})


async def operate(request: web.Request) -> web.StreamResponse:
    """`POST /graphql` with a token: 202, and the answer on the stream."""
    place, caller = _place(request), _caller(request)
    try:
        wanted = wanted_in_body(request)
        operation = place.take(_identity((wanted.extensions or {}).get("operationId")))
        try:
            prepared = await request.app[SERVICE].prepare(wanted, caller)
            begun = _begin(request, place, operation, prepared, caller)
        except BaseException:
            place.end(operation)
            raise
    except Refused as refused:
        return refusal_answer(request, refused, read_accept(request.headers.get("Accept")), lenient=False)
    return web.Response(status=202 if begun else 204)


async def end(request: web.Request) -> web.StreamResponse:
    """`DELETE /graphql?operationId=`: end one; nothing more is heard of it."""
    place = _place(request)
    operation = place.operations.get(_identity(request.query.get("operationId")))
    if operation is not None:
        place.end(operation)
    return web.Response()


async def stream(request: web.Request) -> web.StreamResponse:
    """`GET /graphql` with a token and `Accept: text/event-stream`: the stream, until its client leaves."""
    edge, places, identity = request.app[EDGE], request.app[RESERVATIONS], request[PASSAGE].request_id
    place = places.find(token_of(request) or "")
    request[PASSAGE].principal = principal = await _holder(request, place)
    places.open(place)
    try:
        with edge.presence.of(principal):
            parting: list[Operation] = []
            async with event_stream(request, lambda error: _last_words(parting, error, identity)) as answer:
                await _serve(request, place, answer, parting)
    finally:
        places.drop(place)
    return answer


async def _serve(request: web.Request, place: Reservation, answer: EventStream, parting: list[Operation]) -> None:
    """Until the process drains and nothing is left to be said.

    Args:
        request: the client's.
        place: its own.
        answer: the stream, prepared.
        parting: gets what was under way, if it is ended before.
    """
    edge, turn = request.app[EDGE], asyncio.Lock()
    budget = edge.budgets[request.app[LISTENER]]

    async def say(data: bytes) -> None:
        async with turn:
            await answer.say(data)

    async with plain_group() as group:

        def serve(operation: Operation) -> asyncio.Task[None]:
            return budget.spawn(group, _run(operation, place, say), name="sse operation")

        with place.served(serve):
            try:
                await edge.draining.wait()
                await place.idle()
            except asyncio.CancelledError:
                parting += place.operations.values()
                raise


async def _run(operation: Operation, place: Reservation, say: Say) -> None:
    try:
        if operation.work is not None:
            await operation.work(say)
    finally:
        place.end(operation)


def _begin(request: web.Request, place: Reservation, operation: Operation, prepared: Prepared, caller: Caller) -> bool:
    service, log, presence = request.app[SERVICE], request.app[LOG], request.app[EDGE].presence

    async def work(say: Say) -> None:
        try:
            with presence.of(caller.principal):
                async with aclosing(service.words(prepared, caller)) as words:
                    async for word in words:
                        if word.elsewhere:
                            return  # it ends with the stream, and the client has it done again
                        await say(_next(operation.id, word.payload))
        except ClientGone:
            raise
        except asyncio.CancelledError as error:
            if reason_of(error) is not Reason.REVOKED:
                raise  # the stream's last words are this one's too
            await say(_next(operation.id, error_payload(ended_by_us(error), caller.request_id)))
            operation.told = True
        except Exception:
            log.exception("unhandled", request_id=caller.request_id)
            await say(_next(operation.id, error_payload(internal_error(), caller.request_id)))
        finally:
            log.info("operation", **caller.line)
        await say(_complete(operation.id))

    return place.begin(operation, work, size_bytes=len(request[BODY]))


def _place(request: web.Request) -> Reservation:
    return request.app[RESERVATIONS].find(token_of(request) or "", principal_of(request))


def _caller(request: web.Request) -> Caller:
    """Who asks, and goes on when the request is over: its seat and what it holds are not the operation's."""
    return replace(caller_of(request, Transport.SSE), seat=None, hold=hold_uncounted, facts={})


def _identity(found: Any) -> str:
    if not isinstance(found, str) or not found:
        raise RequestError(Code.INVALID_REQUEST, "name the operation by an `operationId`", param="operationId")
    return found


async def _holder(request: web.Request, place: Reservation) -> Principal:
    """Who opens the stream: whoever has the key, or else the token. A key that has ended meanwhile opens nothing."""
    directory, credentials = request.app[EDGE].directory, request.headers.get("Authorization", "")
    if not credentials:
        return await directory.holder(place.principal.key_id)
    principal = await bearer(directory, credentials)
    request.app[RESERVATIONS].find(place.token, principal)
    return principal


def _next(identity: str, payload: Mapping[str, Any]) -> bytes:
    return b"event: next\ndata: %b\n\n" % _ENCODER.encode({"id": identity, "payload": payload})


def _complete(identity: str) -> bytes:
    return b"event: complete\ndata: %b\n\n" % _ENCODER.encode({"id": identity})


def _last_words(parting: list[Operation], error: RequestError, request_id: str) -> bytes:
    """Each operation that was under way ends with the reason."""
    payload = error_payload(error, request_id)
    return b"".join(_next(each.id, payload) + _complete(each.id) for each in parting if not each.told)
