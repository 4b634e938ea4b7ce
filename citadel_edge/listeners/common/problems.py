"""How an error looks to a client: RFC 9457 problem details, or OpenAI's shape. The one place that maps exceptions."""

import math
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web

from citadel_edge.errors import Code, DependencyError, MetricsServerUnavailable, RedisUnavailable, RequestError
from citadel_edge.storage.postgres_faults import refusal
from citadel_edge.wire.openai import error_body, error_type

SERVER: Final = "citadel-edge"
"""What every answer says it was made with."""
_BY_STATUS = {
    404: (Code.NOT_FOUND, "there is nothing at this path"),
    405: (Code.METHOD_NOT_ALLOWED, "this path does not take this method"),
    413: (Code.BODY_TOO_LARGE, "the body is larger than this listener takes"),
}


def as_request_error(error: Exception) -> RequestError | None:
    """The answer that an exception stands for; null for one that nobody foresaw."""
    match error:
        case RequestError():
            return error
        case web.HTTPException() if error.status in _BY_STATUS:
            code, message = _BY_STATUS[error.status]
            headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
            return RequestError(code, message, headers=headers)
        case web.HTTPClientError():
            return RequestError(Code.INVALID_REQUEST, error.text or error.reason)
        case RedisUnavailable():
            return RequestError(Code.OVERLOADED, "Redis does not answer; try again", retry_after_s=1)
        case MetricsServerUnavailable():
            return RequestError(Code.UPSTREAM_ERROR, str(error))
        case DependencyError():
            return RequestError(
                Code.ACCOUNTS_UNAVAILABLE, "the accounts database does not answer; try again", retry_after_s=1
            )
        case _:
            return refusal(error)


def internal_error() -> RequestError:
    """What a client is told of a fault of ours: nothing but the request id to ask about."""
    return RequestError(Code.INTERNAL, "a fault on our side; name the request id when you report it")


def problem(error: RequestError, request_id: str) -> bytes:
    """An `application/problem+json` body."""
    body: dict[str, object] = {
        "type": _TYPES.get(error.code, "about:blank"),
        "title": HTTPStatus(error.code.status).phrase,
        "status": error.code.status,
        "code": error.code.text,
        "detail": error.message,
        "request_id": request_id,
    }
    if error.param is not None:
        body["param"] = error.param
    if error.retry_after_s is not None:
        body["retry_after_s"] = round(error.retry_after_s, 3)
    return msgspec.json.encode(body)


def respond(error: RequestError, request_id: str, *, openai: bool) -> web.Response:
    """The whole answer to a request that failed before its answer began."""
    headers = {**_standard_headers(error), **error.headers}
    if openai:
        kind = error_type(error.code.status)
        body = error_body(error.message, type=kind, code=error.code.text, param=error.param)
        return web.Response(
            status=error.code.status, body=body, headers=headers, content_type="application/json", charset="utf-8"
        )
    return web.Response(
        status=error.code.status,
        body=problem(error, request_id),
        headers=headers,
        content_type="application/problem+json",
    )


def _standard_headers(error: RequestError) -> dict[str, str]:
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    if error.code is Code.INVALID_API_KEY:
        headers["WWW-Authenticate"] = "Bearer"
    return headers


_TYPES = {
    Code.RATE_LIMIT_EXCEEDED: "https://iana.org/assignments/http-problem-types#quota-exceeded",
    Code.INSUFFICIENT_QUOTA: "https://iana.org/assignments/http-problem-types#quota-exceeded",
    Code.OVERLOADED: "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
    Code.NO_CAPACITY: "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
}
