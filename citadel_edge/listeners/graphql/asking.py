"""Reads a GraphQL request from a body or a query string, and refuses shapes that a page of another site could send.

Refuses to know what the document says.
"""

from typing import Any, Final

import msgspec
from aiohttp import web

from citadel_edge.errors import Code, RequestError
from citadel_edge.graph.answers import Refused, Stage, refusal
from citadel_edge.graph.wanted import Wanted
from citadel_edge.listeners.common.routes import BODY
from citadel_edge.wire.json_text import flaw

_WANTED: Final = msgspec.json.Decoder(Wanted)
_OBJECT: Final = msgspec.json.Decoder(dict[str, Any] | None)
_BATCH: Final = "batches are not taken: send one operation a request, or many on one WebSocket"


def demand_own_site(request: web.Request) -> None:
    """RequestError FORBIDDEN for what another site's page has its browser send.

    Browsers say it of themselves and pages cannot forge it; programs do not say anything, and need not.
    """
    if request.headers.get("Sec-Fetch-Site", "").strip().lower() == "cross-site":
        raise RequestError(Code.FORBIDDEN, "requests of other sites' pages are not taken (Sec-Fetch-Site: cross-site)")


def wanted_in_body(request: web.Request) -> Wanted:
    """What a POST asks for.

    Raises:
        RequestError: UNSUPPORTED_MEDIA_TYPE, a body without a type, which browsers send without asking first.
        Refused: it is no GraphQL request.
    """
    if "Content-Type" not in request.headers and request.body_exists:
        raise RequestError(Code.UNSUPPORTED_MEDIA_TYPE, "send the body with Content-Type: application/json")
    body = request[BODY]
    try:
        return _WANTED.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        if body.lstrip()[:1] == b"[":
            raise _refusal(_BATCH) from None
        raise _refusal(f"the body is no GraphQL request: {flaw(body, error)}") from None


def wanted_in_query(request: web.Request) -> Wanted:
    """What the address of a GET asks for. Raises Refused."""
    query = request.query
    return Wanted(
        query=query.get("query"),
        variables=_object(query.get("variables"), "variables"),
        operation_name=query.get("operationName") or None,
        extensions=_object(query.get("extensions"), "extensions"),
        document_id=query.get("documentId") or None,
    )


def _object(text: str | None, name: str) -> dict[str, Any] | None:
    if not text:
        return None
    try:
        found: dict[str, Any] | None = _OBJECT.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise _refusal(f"`{name}` is no JSON object: {flaw(text.encode(errors='replace'), error)}") from None
    return found


def _refusal(message: str) -> Refused:
    return refusal(message, stage=Stage.REQUEST)
