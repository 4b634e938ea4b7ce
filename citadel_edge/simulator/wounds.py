"""How a server breaks a connection or bytes on purpose. Knows sockets and bytes, not requests."""

import asyncio
import socket
import struct
from itertools import pairwise
from typing import Final

NO_LINGER: Final = struct.pack("ii", 1, 0)
CONTINUATION: Final = 0b10
BROKEN_JSON: Final = b'data: {"id":"broken","choices":[{"index":0,"delta":{"con\n\n'
BROKEN_UTF8: Final = (
    b'data: {"choices":[{"index":0,"delta":{"content":" \xc3\x28 \xf0\x9f"},"finish_reason":null}]}\n\n'
)
GARBAGE: Final = b"<html><head><title>nginx</title></head>\n<body>It works!\x00\x01</body></html>\n"


class Broken(Exception):
    """The connection of this request was broken on purpose; nothing is left to answer."""


def reset(transport: asyncio.BaseTransport | None) -> None:
    """Close with RST: what is unsent is lost, and the peer sees a reset."""
    if not isinstance(transport, asyncio.WriteTransport):
        return
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    transport.abort()


def cut(transport: asyncio.BaseTransport | None) -> None:
    """Close with FIN after what was written, without the end of the body."""
    if transport is not None:
        transport.close()


def tear(frame: bytes) -> list[bytes]:
    """The frame in parts, each cut inside a character of several bytes; a frame of ASCII stays whole."""
    cuts = [place for place in range(1, len(frame)) if frame[place] >> 6 == CONTINUATION]
    edges = [0, *cuts, len(frame)]
    return [frame[a:b] for a, b in pairwise(edges)]
