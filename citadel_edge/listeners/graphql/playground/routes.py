"""The routes of the playground: its page and the page's files, for everybody, without a key.

Decides what a browser may do with the page: run the scripts that are here, and speak with nobody else. Files are kept
by browsers for good, the page is asked for anew each time.
"""

import asyncio
import gzip
from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from aiohttp import ETag, web

from citadel_edge.errors import Code, RequestError
from citadel_edge.listeners.common.routes import Route
from citadel_edge.listeners.graphql.playground.files import FOLDER, File, Playground

_DIALOG: Final = "'sha256-Y/huXlwoYkVyQlxwSVcCi1RCDGDCSVBzDt0hYP9qlTc='"
"""The one style that GraphiQL writes into the page: nothing behind an open dialog scrolls."""
POLICY: Final = (
    f"default-src 'none'; script-src 'self'; style-src 'self' {_DIALOG}; font-src data:; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_GUARDED: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_PAGE: Final = {
    **_GUARDED,
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_FILE: Final = {
    **_GUARDED,
    "Cache-Control": "public, max-age=31536000, immutable",
    "Vary": "Accept-Encoding",
}


class Packed:
    """Files compressed, each when it is wanted first. Two at once may both do it, and do the same."""

    def __init__(self, files: Mapping[str, File]) -> None:
        self._files = files
        self._packed: dict[str, bytes] = {}

    async def of(self, name: str) -> bytes:
        """Its content, gzipped."""
        if name not in self._packed:
            self._packed[name] = await asyncio.to_thread(gzip.compress, self._files[name].content, mtime=0)
        return self._packed[name]


def playground_routes(playground: Playground) -> list[Route]:
    """The page at `/`, and its files."""
    packed, tag = Packed(playground.files), sha256(playground.page).hexdigest()[:16]

    async def page(request: web.Request) -> web.StreamResponse:
        return _answer(request, File("text/html", playground.page), tag, _PAGE)

    async def file(request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        wanted = playground.files.get(name)
        if wanted is None or request.path != f"{playground.folder}/{name}":
            raise RequestError(Code.NOT_FOUND, "the playground has no such file; load its page anew")
        answer = _answer(request, wanted, f"{playground.folder.rpartition('/')[2]}-{name}", _FILE)
        if answer.status == web.HTTPOk.status_code and _takes_gzip(request):
            answer.body = await packed.of(name)
            answer.headers["Content-Encoding"] = "gzip"
        return answer

    return [
        Route(method="GET", path="/", handler=page, summary="The playground", role=None),
        Route(
            method="GET",
            path=f"{FOLDER}/{{digest}}/{{name}}",
            handler=file,
            summary="The playground's files",
            role=None,
        ),
    ]


def _answer(request: web.Request, file: File, tag: str, headers: Mapping[str, str]) -> web.Response:
    """The file, or 304 to a browser that has it. The tag is weak: it is the same for all encodings."""
    known = any(each.value in (tag, "*") for each in request.if_none_match or ())
    answer = web.Response(status=304, headers=headers) if known else _whole(file, headers)
    answer.etag = ETag(value=tag, is_weak=True)
    return answer


def _whole(file: File, headers: Mapping[str, str]) -> web.Response:
    return web.Response(body=file.content, content_type=file.type, charset="utf-8", headers=headers)


def _takes_gzip(request: web.Request) -> bool:
    codings = request.headers.get("Accept-Encoding", "").lower().replace(" ", "").split(",")
    return any(each == "gzip" or (each.startswith("gzip;") and not each.endswith("=0")) for each in codings)
