"""Clients that hold connections open and mostly wait: Server-Sent Events, or WebSockets of `citadel.v1`.

`python -m benchmarks.streams.holders '{"url": …}'` connects all of them, then does what it is told on its input, a word
a line, and answers each with a line of JSON: `open` (how many are), `subscribe` (WebSockets do), `events` (how many
events came since it was asked last, and how long after they were published), `close`.
"""

import asyncio
import base64
import json
import sys
import time
from asyncio import StreamReader
from dataclasses import dataclass
from urllib.parse import urlsplit

AT_ONCE = 100
CLIENTS_AN_ADDRESS = 20_000
TOPIC = "usage"
PING, PONG, TEXT = 0x9, 0xA, 0x1
SHORT, EXTENDED = 126, 127


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`kind`: sse or websocket."""

    url: str
    key: str
    kind: str
    count: int


class Holder(asyncio.Protocol):
    """One connection. `ages_ms`: of the events that came to any of them."""

    def __init__(self, plan: Plan, ages_ms: list[float]) -> None:
        self._plan = plan
        self._ages_ms = ages_ms
        self._rest = b""
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment] - a stream's is one
        self.say(handshake(self._plan))

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        if not self.opened.done():
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                self._rest = head
                return
            if head.split(b" ", 2)[1] in {b"200", b"101"}:
                self.opened.set_result(None)
            else:
                self.opened.set_exception(ValueError(head[:300].decode(errors="replace")))
        self._rest = self._events(data) if self._plan.kind == "sse" else self._frames(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(exc or ConnectionResetError("it was closed"))
        self.transport = None

    def say(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def send(self, opcode: int, payload: bytes) -> None:
        """A WebSocket message, masked with zeros."""
        size = bytes([0x80 | len(payload)]) if len(payload) < SHORT else b"\xfe" + len(payload).to_bytes(2)
        self.say(bytes([0x80 | opcode]) + size + bytes(4) + payload)

    def _events(self, data: bytes) -> bytes:
        """What is left of a stream of events; chunks' sizes between them do no harm."""
        *whole, rest = data.split(b"\n\n")
        for event in whole:
            if b"event: " in event:
                self._note(event.partition(b"data: ")[2])
        return rest

    def _frames(self, data: bytes) -> bytes:
        while (frame := frame_of(data)) is not None:
            opcode, payload, data = frame
            if opcode == PING:
                self.send(PONG, payload)
            elif opcode == TEXT and b'"event"' in payload[:200]:
                self._note(payload)
        return data

    def _note(self, payload: bytes) -> None:
        _, found, rest = payload.partition(b'"at":')
        if found:
            self._ages_ms.append((time.time() - float(rest[: rest.index(b",")])) * 1000)  # noqa: TID251 - as published


def frame_of(data: bytes) -> tuple[int, bytes, bytes] | None:
    """Opcode and payload of the first whole frame of a server, and what follows; null while there is none."""
    if len(data) < 2:
        return None
    size, start = data[1] & 0x7F, 2
    if size >= SHORT:
        start = 4 if size == SHORT else 10
        if len(data) < start:
            return None
        size = int.from_bytes(data[2:start])
    if len(data) < start + size:
        return None
    return data[0] & 0x0F, data[start : start + size], data[start + size :]


def handshake(plan: Plan) -> bytes:
    """The request that opens a connection."""
    path = f"/v1/events?topics={TOPIC}" if plan.kind == "sse" else "/v1/ws"
    lines = [f"GET {path} HTTP/1.1", "Host: bench", f"Authorization: Bearer {plan.key}"]
    if plan.kind == "websocket":
        key = base64.b64encode(bytes(16)).decode()
        lines += ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
        lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Protocol: citadel.v1"]
    return "\r\n".join([*lines, "", ""]).encode()


async def hold(plan: Plan) -> None:
    """Until told to close, or the input ends."""
    ages_ms: list[float] = []
    holders = await connect(plan, ages_ms)
    words = await standard_input()
    tell({"open": count_open(holders)})
    while word := (await words.readline()).decode().strip():
        if word == "subscribe":
            message = json.dumps({"id": "1", "type": "subscribe", "topics": [TOPIC]}).encode()
            for number, holder in enumerate(holders):
                holder.send(TEXT, message)
                if number % AT_ONCE == 0:
                    await asyncio.sleep(0.02)
            tell({})
        elif word == "events":
            ordered = sorted(ages_ms)
            ages_ms.clear()
            count = len(ordered)
            shown = {"p50_ms": ordered[count // 2], "p99_ms": ordered[int(count * 0.99)]} if ordered else {}
            tell({"count": count, **shown})
        elif word == "open":
            tell({"open": count_open(holders)})
        else:
            break
    for holder in holders:
        if holder.transport is not None:
            holder.transport.close()


async def connect(plan: Plan, ages_ms: list[float]) -> list[Holder]:
    address = urlsplit(plan.url)
    loop = asyncio.get_running_loop()
    holders: list[Holder] = []
    while len(holders) < plan.count:
        some = []
        for number in range(len(holders), min(plan.count, len(holders) + AT_ONCE)):
            source = (f"127.0.0.{2 + number // CLIENTS_AN_ADDRESS}", 0)
            _, holder = await loop.create_connection(
                lambda: Holder(plan, ages_ms), address.hostname, address.port, local_addr=source
            )
            some.append(holder)
        for holder in some:
            await holder.opened
        holders += some
    return holders


async def standard_input() -> StreamReader:
    reader = StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


def count_open(holders: list[Holder]) -> int:
    return sum(holder.transport is not None for holder in holders)


def tell(found: dict[str, float]) -> None:
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    try:
        asyncio.run(hold(Plan(**json.loads(sys.argv[1]))))
    except (ValueError, OSError) as failure:
        sys.exit(f"no connection: {failure}")
