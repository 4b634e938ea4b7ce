"""GraphQL over HTTP (the draft of 2025), POST and GET: whole answers and answers in parts.

Decides the type and the status of an answer. A client that takes `application/graphql-response+json` gets the status
that the answer stands for; one that takes `application/json` gets 200 for whatever is a GraphQL request, as its clients
have it. Refuses to know how operations run.
"""

import asyncio
from typing import Final

from aiohttp import web
from graphql import OperationType

from citadel_edge.errors import Code
from citadel_edge.graph.answers import Answer, Refused, Stage, refusal
from citadel_edge.graph.wanted import Wanted
from citadel_edge.listeners.common.leaving import ended_by_us
from citadel_edge.listeners.common.middlewares import HOLDING, SEAT
from citadel_edge.listeners.common.routes import PASSAGE, principal_of
from citadel_edge.listeners.graphql.accept import Accepts, Whole, read_accept
from citadel_edge.listeners.graphql.asking import wanted_in_body, wanted_in_query
from citadel_edge.listeners.graphql.incremental import answer_in_parts
from citadel_edge.listeners.graphql.metrics import Transport
from citadel_edge.listeners.graphql.service import SERVICE, Caller

_READING: Final = frozenset({OperationType.QUERY})
_ALL: Final = frozenset(OperationType)
_NOT_ACCEPTABLE: Final = 406
_NOT_ALLOWED: Final = Code.METHOD_NOT_ALLOWED.status
_BAD: Final = Code.INVALID_REQUEST.status
_SERVER: Final = 500


async def post(request: web.Request) -> web.StreamResponse:
    """`POST /graphql`: queries and mutations."""
    accepts = read_accept(request.headers.get("Accept"))
    try:
        return await _answer(request, wanted_in_body(request), accepts)
    except Refused as refused:
        return refusal_answer(request, refused, accepts)


async def get(request: web.Request) -> web.StreamResponse:
    """`GET /graphql?query=…`: queries alone."""
    accepts = read_accept(request.headers.get("Accept"))
    try:
        return await _answer(request, wanted_in_query(request), accepts)
    except Refused as refused:
        return refusal_answer(request, refused, accepts)


def caller_of(request: web.Request, transport: Transport) -> Caller:
    """Who asks with a request that is one operation; its facts are the request's."""
    passage = request[PASSAGE]
    return Caller(
        principal=principal_of(request),
        request_id=passage.request_id,
        trace=passage.trace,
        transport=transport,
        seat=request.get(SEAT),
        hold=request[HOLDING].hold,
        facts=passage.facts,
    )


def refusal_answer(request: web.Request, refused: Refused, accepts: Accepts, *, lenient: bool = True) -> web.Response:
    """A request that was refused, as its client takes it. Not `lenient`: with the true status, whatever it takes."""
    status = refused.status
    if lenient and accepts.whole is not Whole.RESPONSE and refused.stage is not Stage.REQUEST and status == _BAD:
        status = 200
    answer = _encoded(refused.answer(request[PASSAGE].request_id), accepts.whole or Whole.JSON, status)
    if status == _NOT_ALLOWED:
        answer.headers["Allow"] = "POST"
    return answer


async def _answer(request: web.Request, wanted: Wanted, accepts: Accepts) -> web.StreamResponse:
    if accepts.whole is None and not accepts.parts:
        raise _unacceptable("send an Accept that takes application/graphql-response+json or application/json")
    service, caller = request.app[SERVICE], caller_of(request, Transport.HTTP)
    prepared = await service.prepare(wanted, caller, allowed=_READING if request.method == "GET" else _ALL)
    if prepared.kind is OperationType.SUBSCRIPTION:
        service.refused(caller)
        raise _unacceptable("a subscription is answered over WebSocket, or with Accept: text/event-stream")
    if accepts.parts and (prepared.incremental or accepts.whole is None):
        return await answer_in_parts(request, service.parts(prepared, caller))
    try:
        answer = await service.whole(prepared, caller)
    except asyncio.CancelledError as error:
        raise ended_by_us(error) from None
    media = accepts.whole or Whole.JSON
    return _encoded(answer, media, _status(answer, media))


def _status(answer: Answer, media: Whole) -> int:
    return answer.status if media is Whole.RESPONSE or answer.status >= _SERVER else 200


def _encoded(answer: Answer, media: Whole, status: int) -> web.Response:
    return web.Response(body=answer.encoded(), status=status, content_type=media.value, charset="utf-8")


def _unacceptable(message: str) -> Refused:
    refused = refusal(message, stage=Stage.REQUEST)
    refused.status = _NOT_ACCEPTABLE
    return refused
