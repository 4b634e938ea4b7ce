"""A small driver of continuations over real sockets: one answer, read from one replica after another."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from citadel_edge.completions.continuation import (
    first_body,
    forbidden,
    last_words,
    listen,
    next_body,
    nothing_left,
    refusal,
    resume,
    unable,
)
from citadel_edge.completions.relay import Relay
from citadel_edge.completions.request import CompletionRequest, Kind, parse
from citadel_edge.config.shape import Engine
from citadel_edge.errors import UpstreamError, UpstreamFault
from citadel_edge.fleet.engines.known import dialect_of
from citadel_edge.wire.sse import Decoder

ESTIMATE = 77


@dataclass(frozen=True)
class Replica:
    """Where one is, and what it is.

    After `breaks_after` chunks it is killed by `kill`; without one, the connection is cut from this side.
    """

    engine: str
    url: str
    model: str = "sim-model"
    breaks_after: int | None = None
    kill: Callable[[], None] | None = None


@dataclass
class Told:
    """What the client got, and how it came about."""

    out: bytes = b""
    relay: Relay | None = None
    bodies: list[dict[str, Any]] = field(default_factory=list)
    failures: list[UpstreamError] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)  # chunks of text that the client had at each failure
    refused: str | None = None
    ended: bool = False

    @property
    def chunks(self) -> list[dict[str, Any]]:
        return [json.loads(event.data) for event in Decoder().feed(self.out)]

    @property
    def pieces(self) -> list[str]:
        """The text of choice 0, chunk by chunk."""
        return [text for one in self.chunks for choice in one["choices"] if (text := text_of(choice))]

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def finish(self) -> list[str]:
        return [c["finish_reason"] for one in self.chunks for c in one["choices"] if c.get("finish_reason")]

    @property
    def usages(self) -> list[dict[str, Any]]:
        return [one["usage"] for one in self.chunks if one.get("usage")]


def text_of(choice: dict[str, Any]) -> str:
    return (choice["delta"].get("content") if "delta" in choice else choice["text"]) or ""


def request_of(body: dict[str, Any]) -> CompletionRequest:
    asked = {"model": "m", "stream": True, **body}
    return parse(json.dumps(asked).encode(), Kind.CHAT if "messages" in asked else Kind.COMPLETION)


async def told(session: aiohttp.ClientSession, body: dict[str, Any], replicas: Sequence[Replica]) -> Told:
    """One answer: from the first replica, and on from each next one where the one before breaks off."""
    request, got = request_of(body), Told()
    for replica in replicas:
        dialect = dialect_of(Engine(replica.engine))
        if got.relay is None or not got.out:
            relay = listen(request, dialect, recording=forbidden(request) is None)
            sent = first_body(request, dialect=dialect, model=replica.model)
        else:
            if nothing_left(request, got.relay):
                break
            got.refused = refusal(request, got.relay) or unable(request, got.relay, dialect)
            if got.refused:
                return got
            sent = next_body(request, got.relay, dialect=dialect, model=replica.model)
            relay = resume(request, got.relay, dialect=dialect)
        got.relay = relay
        got.bodies.append(json.loads(sent))
        try:
            await read(session, replica, request.kind.path, sent, got)
            relay.end()
        except UpstreamError as error:
            got.failures.append(error)
            got.sent.append(len(got.pieces))
            continue
        got.ended = True
        return got
    if got.relay is not None and got.out and nothing_left(request, got.relay):
        got.out += last_words(request, got.relay, prompt_tokens=ESTIMATE)
        got.ended = True
    return got


async def read(session: aiohttp.ClientSession, replica: Replica, path: str, body: bytes, got: Told) -> None:
    relay = got.relay
    assert relay is not None
    try:
        async with session.post(replica.url + path, data=body, headers={"Content-Type": "application/json"}) as answer:
            if answer.status != 200:
                message = f"{answer.status}: {(await answer.read())[:200]!r}"
                raise UpstreamError(UpstreamFault.STATUS, message, status=answer.status)
            async for data in answer.content.iter_any():
                got.out += relay.feed(data)
                if relay.over:
                    break
                if replica.breaks_after is None or relay.content_chunks < replica.breaks_after:
                    continue
                if replica.kill is None:
                    answer.close()
                    raise UpstreamError(UpstreamFault.RESET, "cut")
                replica.kill()
    except (aiohttp.ClientError, OSError) as error:
        raise UpstreamError(UpstreamFault.RESET, str(error)) from error
