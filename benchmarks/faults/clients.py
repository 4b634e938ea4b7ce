"""Fifty clients that ask without pause, and a few that hear long streams; each answer is compared word by word."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from benchmarks.faults.fleet import LONGEST, MODEL, expected

TOKENS: Final = 8
PATIENCE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One request, in seconds of the loop's clock. `failure` is None when the answer was the expected one."""

    began: float
    ended: float
    upstream: str
    attempts: int
    failure: str | None

    @property
    def took_s(self) -> float:
        return self.ended - self.began


@dataclass(slots=True)
class Door:
    """Where to ask, as whom."""

    url: str
    key: str

    def request(self, prompt: str, *, stream: bool) -> bytes:
        """One request as it goes over the wire."""
        body = {"model": MODEL, "messages": [{"role": "user", "content": prompt}], "stream": stream}
        body |= {} if stream else {"max_tokens": TOKENS}
        raw = json.dumps(body).encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {self.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
        )
        return head.encode() + raw


@dataclass(slots=True)
class Line:
    """One connection, opened again when it broke."""

    door: Door
    reader: asyncio.StreamReader | None = None
    writer: asyncio.StreamWriter | None = None
    headers: dict[bytes, bytes] = field(default_factory=dict)

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body."""
        if self.writer is None or self.reader is None:
            address = urlsplit(self.door.url)
            self.reader, self.writer = await asyncio.open_connection(address.hostname, address.port, limit=2**20)
        self.writer.write(request)
        lines = (await self.reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        pairs = (line.partition(b": ") for line in lines[1:])
        self.headers = {name.lower(): value for name, _, value in pairs}
        return int(lines[0].split()[1]), b"".join([part async for part in self._body(self.reader)])

    async def _body(self, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
        if b"content-length" in self.headers:
            yield await reader.readexactly(int(self.headers[b"content-length"]))
            return
        while size := int(await reader.readline(), 16):
            yield (await reader.readexactly(size + 2))[:-2]
        await reader.readline()

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


async def call(line: Line, prompt: str, *, stream: bool) -> Answer:
    """One request and what is to be said of it."""
    clock = asyncio.get_running_loop().time
    began = clock()
    line.headers = {}
    try:
        async with asyncio.timeout(PATIENCE_S):
            status, body = await line.ask(line.door.request(prompt, stream=stream))
        failure = _failure(status, body, prompt, stream=stream)
    except (OSError, EOFError, TimeoutError, ValueError) as error:
        line.close()
        failure = f"{type(error).__name__}: {error}"
    upstream = line.headers.get(b"x-citadel-upstream", b"").decode()
    attempts = int(line.headers.get(b"x-citadel-attempts", b"0"))
    return Answer(began, clock(), upstream, attempts, failure)


def _failure(status: int, body: bytes, prompt: str, *, stream: bool) -> str | None:
    if status != 200:
        return f"{status} {body[:300].decode(errors='replace')}"
    if not stream:
        said = json.loads(body)["choices"][0]["message"]["content"]
        return None if said == expected(prompt, TOKENS) else f"it said {said!r}"
    data = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: ")]
    events = [json.loads(each) for each in data if each != b"[DONE]"]
    choices = [choice for event in events for choice in event.get("choices", ())]
    said = "".join(choice["delta"].get("content") or "" for choice in choices)
    finishes = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
    if data[-1:] != [b"[DONE]"] or data.count(b"[DONE]") != 1 or finishes != ["stop"]:
        return f"it ended with {data[-1:]}, {finishes}"
    return None if said == expected(prompt, LONGEST) else f"it said {len(said)} characters, and other ones"


class Crowd:
    """Clients that ask one thing after the other until they are told to stop."""

    def __init__(self, door: Door, size: int) -> None:
        self._door = door
        self._size = size
        self._going = True
        self._asked = 0
        self.answers: list[Answer] = []

    def stop(self) -> None:
        """Ask nothing more; what was asked is waited for."""
        self._going = False

    async def run(self) -> None:
        """Until `stop`."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._size):
                group.create_task(self._client())

    async def until(self, count: int) -> None:
        """Wait for so many answers."""
        while len(self.answers) < count:  # noqa: ASYNC110 - an event a request would be more to read
            await asyncio.sleep(0.01)

    async def _client(self) -> None:
        line = Line(self._door)
        while self._going:
            self._asked += 1
            self.answers.append(await call(line, f"Question {self._asked}.", stream=False))
        line.close()


async def hear(door: Door, number: int) -> Answer:
    """One long stream."""
    line = Line(door)
    try:
        return await call(line, f"Story {number}.", stream=True)
    finally:
        line.close()
