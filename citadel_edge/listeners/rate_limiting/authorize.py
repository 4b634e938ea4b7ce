"""`/v1/authorize`: a gateway asks with its client's own request whether that may pass.

For nginx's `auth_request`, and for Envoy's `ext_authz` over HTTP, whose `path_prefix` puts the original path behind
ours and which keeps the client's method.

200 with who it is and what is left; 401, 403, 429 and what else stands in the way otherwise. It charges a request and
the tokens that are named; no lease, for nobody tells a gateway's door when a request ends. Whoever serves the request
may settle the reservation; else it stays as it was charged.

nginx relays 401 and 403 alone and makes 500 of all else: with `?deny=403` every other refusal is a 403 here, and its
true status stands in `X-Citadel-Status`, for `error_page`::

    location / {
        auth_request /authorize;
        auth_request_set $citadel_status $upstream_http_x_citadel_status;
        auth_request_set $citadel_retry $upstream_http_retry_after;
        auth_request_set $citadel_policy $upstream_http_ratelimit_policy;
        auth_request_set $citadel_left $upstream_http_ratelimit;
        auth_request_set $citadel_user $upstream_http_x_citadel_user;
        auth_request_set $citadel_reservation $upstream_http_x_citadel_reservation;
        error_page 403 = @denied;
        add_header RateLimit-Policy $citadel_policy always;
        add_header RateLimit $citadel_left always;
        proxy_set_header X-Citadel-User $citadel_user;
        proxy_set_header X-Citadel-Reservation $citadel_reservation;
        proxy_pass http://backend;
    }
    location = /authorize {
        internal;
        proxy_pass http://127.0.0.1:9098/v1/authorize?deny=403;
        proxy_pass_request_body off;
        proxy_set_header Content-Length "";
        proxy_set_header X-Original-URI $request_uri;
        proxy_set_header X-Envoy-Original-Path "";
        proxy_set_header X-Citadel-Model "";
        proxy_set_header X-Citadel-Tokens "";
    }
    location @denied {
        internal;
        default_type application/problem+json;
        add_header Retry-After $citadel_retry always;
        add_header RateLimit-Policy $citadel_policy always;
        add_header RateLimit $citadel_left always;
        if ($citadel_status = 429) { return 429 '{"title":"Too Many Requests","status":429}'; }
        if ($citadel_status = 503) { return 503 '{"title":"Service Unavailable","status":503}'; }
        return 403 '{"title":"Forbidden","status":403}';
    }

What a client sends under the names of our headers reaches us unless the gateway takes it away, as above. Where the
path says what was asked for, our query is the client's, and not read.
"""

from posixpath import normpath
from typing import Final
from urllib.parse import unquote

import msgspec
from aiohttp import web

from citadel_edge.accounts.principal import Principal
from citadel_edge.edge import EDGE
from citadel_edge.errors import Code, RequestError
from citadel_edge.limits.claims import Decision
from citadel_edge.limits.headers import limit_headers
from citadel_edge.limits.refusals import refusal
from citadel_edge.listeners.common.routes import PASSAGE, Route, principal_of
from citadel_edge.listeners.rate_limiting.reservations import (
    LONGEST_ENDPOINT,
    LONGEST_NAME,
    MOST_TOKENS,
    Asked,
    reserve,
)

PATH: Final = "/v1/authorize"
STATUS: Final = "X-Citadel-Status"
TTL_S: Final = 600.0
"""So long whoever serves the request may take to settle it as it was charged."""
_TAIL: Final = "tail"
_RELAYED: Final = frozenset({401, 403})
_DENIED: Final = 403
_FORBIDDEN: Final = {"status": _DENIED, "title": "Forbidden"}
_LONGEST_NUMBER: Final = 12
_QUERY: Final = {
    "model": "the model that is asked for; or the header X-Citadel-Model",
    "tokens": "of the request and its answer, estimated; or the header X-Citadel-Tokens",
    "deny": "403: every refusal but 401 is answered 403, its true status in X-Citadel-Status",
}


async def authorize(request: web.Request) -> web.StreamResponse:
    """`/v1/authorize`, any method."""
    edge, principal = request.app[EDGE], principal_of(request)
    decision = await reserve(edge, _asked(request, principal))
    request[PASSAGE].facts.update(allowed=decision.allowed, reservation=_reservation(decision))
    if not decision.allowed:
        raise refusal(decision, param="tokens")
    headers = limit_headers(decision.standings, degraded=decision.degraded)
    return web.Response(headers={**headers, **_identity(principal, decision)})


def retold(request: web.Request, answer: web.Response) -> web.Response:
    """A refusal with its status in a header, and as a 403 where the gateway can relay no other."""
    true = answer.status
    if _read(request, "deny") == str(_DENIED) and true not in _RELAYED:
        answer.set_status(_DENIED)
        answer.body = msgspec.json.encode({**msgspec.json.decode(answer.text or "{}"), **_FORBIDDEN})
    answer.headers[STATUS] = str(true)
    return answer


def _asked(request: web.Request, principal: Principal) -> Asked:
    return Asked(
        request_id=request[PASSAGE].request_id,
        principal=principal,
        model=_model(request),
        endpoint=_endpoint(request),
        tokens=_tokens(request),
        lease=False,
        ttl_s=TTL_S,
        asked_at=PATH,
    )


def _read(request: web.Request, name: str) -> str:
    """Of our query, which is the client's own where the path says what was asked for."""
    return "" if _TAIL in request.match_info else request.query.get(name, "")


def _model(request: web.Request) -> str:
    name = _read(request, "model") or request.headers.get("X-Citadel-Model", "")
    if len(name) > LONGEST_NAME or not name.isprintable():
        text = f"a model's name has at most {LONGEST_NAME} printable characters, got {name[:40]!r}"
        raise RequestError(Code.INVALID_REQUEST, text, param="model")
    return name


def _tokens(request: web.Request) -> int:
    text = _read(request, "tokens") or request.headers.get("X-Citadel-Tokens", "") or "0"
    if not (text.isascii() and text.isdecimal() and len(text) <= _LONGEST_NUMBER and int(text) <= MOST_TOKENS):
        raise RequestError(
            Code.INVALID_REQUEST, f"tokens is a whole number from 0 to {MOST_TOKENS}, got {text[:40]!r}", param="tokens"
        )
    return int(text)


def _endpoint(request: web.Request) -> str:
    """The original path without its query, as a backend reads it; empty where nobody said, or it is no path.

    It is decoded once, and doubled slashes and dots are taken out: a limit of an endpoint is one of all its spellings.
    """
    if _TAIL in request.match_info:
        path = f"/{request.match_info[_TAIL]}"
    else:
        headers = request.headers
        path = headers.get("X-Original-URI") or headers.get("X-Envoy-Original-Path") or ""
    if not path.startswith("/"):
        return ""
    plain = unquote(path.partition("?")[0].partition("#")[0]).encode(errors="replace").decode().strip()
    return normpath(f"/{plain.lstrip('/')}")[:LONGEST_ENDPOINT]


def _identity(principal: Principal, decision: Decision) -> dict[str, str]:
    headers = {
        "X-Citadel-User": principal.user_id,
        "X-Citadel-Organisation": principal.organisation_id,
        "X-Citadel-Tier": principal.tier,
        "X-Citadel-Role": principal.role.value,
    }
    if decision.reservation is not None:
        headers["X-Citadel-Reservation"] = decision.reservation.id
    return headers


def _reservation(decision: Decision) -> str | None:
    return None if decision.reservation is None else decision.reservation.id


def authorize_routes() -> list[Route]:
    """The plain form, and the one with the original path behind it."""
    return [
        Route(
            method="*",
            path=path,
            handler=authorize,
            summary="May the bearer of this key make a request?",
            query=query,
            retell=retold,
        )
        for path, query in ((PATH, _QUERY), (f"{PATH}/{{{_TAIL}:.*}}", {}))
    ]
