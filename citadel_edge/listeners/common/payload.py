"""What clients send to and get from resources: bodies read into their dataclasses, rows, pages, ETags written."""

from dataclasses import fields
from functools import cache
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web

from citadel_edge.accounts.desk import Actor
from citadel_edge.accounts.pages import Page, PageRequest
from citadel_edge.errors import Code, RequestError
from citadel_edge.listeners.common.routes import BODY, PASSAGE, principal_of
from citadel_edge.wire.json_text import flaw

T = TypeVar("T")
LONGEST_VERSION = 18
_OBJECT: Final = msgspec.json.Decoder(dict[str, Any])


def read(request: web.Request, shape: type[T]) -> T:
    """The body as a dataclass. RequestError names the field that is unknown, missing or of the wrong type."""
    known, decoder = _reader(shape)  # type: ignore[arg-type]  # a class is hashable
    for name in read_object(request):
        if name not in known:
            raise RequestError(
                Code.INVALID_REQUEST, f"unknown field {name[:40]!r}; known are {', '.join(sorted(known))}", param=name
            )
    decoded: T = _decoded(request, decoder)
    return decoded


def read_object(request: web.Request) -> dict[str, Any]:
    """The body as a JSON object, as it is."""
    return _decoded(request, _OBJECT)


def actor(request: web.Request) -> Actor:
    """Who answers for a change."""
    return Actor.of(principal_of(request), request[PASSAGE].request_id)


def expected_version(request: web.Request) -> int | None:
    """The version in `If-Match`; null without the header or for `*`. RequestError STALE for what is no ETag of ours."""
    text = request.headers.get("If-Match", "*").strip()
    if text == "*":
        return None
    digits = text.removeprefix("W/").strip('"')
    if not digits.isdecimal() or len(digits) > LONGEST_VERSION:
        raise RequestError(Code.STALE, "If-Match names no version of ours; read the resource again")
    return int(digits)


def wanted_page(request: web.Request) -> PageRequest:
    """`?limit=&after=`."""
    text = request.query.get("limit", "50")
    if not text.isdecimal() or len(text) > 6:  # noqa: PLR2004 - no limit has so many digits
        raise RequestError(Code.INVALID_REQUEST, f"limit is a whole number, got {text[:40]!r}", param="limit")
    return PageRequest(limit=int(text), after=request.query.get("after"))


def one(resource: Any, *, version: int | None = None, status: int = 200) -> web.Response:
    """A resource with its ETag."""
    headers = {} if version is None else {"ETag": f'"{version}"'}
    return web.Response(
        body=msgspec.json.encode(resource),
        status=status,
        headers=headers,
        content_type="application/json",
        charset="utf-8",
    )


def many(page: Page[Any], shown: list[Any] | None = None) -> web.Response:
    """A page: `{data, next}`."""
    return one({"data": list(page.data) if shown is None else shown, "next": page.next})


@cache
def _reader(shape: Any) -> tuple[frozenset[str], msgspec.json.Decoder[Any]]:
    """A dataclass's fields and who reads it: found once, not with every request."""
    return frozenset(each.name for each in fields(shape)), msgspec.json.Decoder(shape)


def _decoded(request: web.Request, decoder: msgspec.json.Decoder[T]) -> T:
    try:
        return decoder.decode(request[BODY])
    except msgspec.ValidationError as error:
        text = str(error)
        _, _, path = text.partition(" - at `$.")
        raise RequestError(Code.INVALID_REQUEST, text, param=path.rstrip("`") or None) from error
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise RequestError(Code.INVALID_REQUEST, f"the body is no JSON object: {flaw(request[BODY], error)}") from error
