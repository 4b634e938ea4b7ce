"""Strict readers of other people's making get exactly our events, and we get exactly those of another's writer.

Both kinds of reader dispatch an event of nothing for a blank line too many once an `id` was seen, and die of it: so a
heartbeat is one comment line, and nothing but an event ends with a blank line.
"""

from contextlib import asynccontextmanager
from functools import cache

import aiohttp
import httpx
import httpx2
import msgspec
import openai
import pytest
from aiohttp import web
from aiohttp_sse import sse_response
from httpx_sse import EventSource
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from citadel_edge.wire.sse import DONE, PING, Decoder, Event, data_line, encode
from wire.sse_model import LOOKALIKES, WIDE, cut, cuts, events

unhurried = settings(deadline=None)  # other people's code on a busy machine
HEAD = {"Content-Type": "text/event-stream; charset=utf-8"}
words = st.text(st.characters(codec="utf-8") | st.sampled_from(WIDE + LOOKALIKES + "\r\n"), max_size=12)
rounds = st.lists(st.tuples(st.integers(0, 2), words), max_size=6)
"""An answer as the client sees it: before each text so many heartbeats."""


def chunk(text):
    return msgspec.json.encode(
        {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text}}]}
    )


def resumable(said):
    """Our bytes of the dialect that has cursors: the heartbeats between the events, a record at the end."""
    told = b"".join(
        PING * pings + encode(Event(chunk(text), id=f"k3:{seq}")) for seq, (pings, text) in enumerate(said, 1)
    )
    return told + PING + encode(Event(b'{"usage":null}', event="done", id=f"k3:{len(said) + 1}")) + PING


@given(said=rounds, places=cuts)
@settings(unhurried)
def test_httpx_sse_hears_each_event_once_and_no_heartbeat(said, places):
    pieces = [piece for piece in cut(resumable(said), places) if piece]
    heard = list(EventSource(httpx.Response(200, headers=HEAD, content=iter(pieces))).iter_sse())
    assert [each.data.encode() for each in heard[:-1]] == [chunk(text) for _, text in said]
    assert [each.id for each in heard] == [f"k3:{seq}" for seq in range(1, len(said) + 2)]
    assert [each.event for each in heard] == ["message"] * len(said) + ["done"]


@pytest.mark.parametrize("dialect", ["plain", "with cursors"])
@given(said=rounds, places=cuts)
@settings(unhurried)
def test_the_openai_sdk_hears_each_chunk_once_and_no_heartbeat(dialect, said, places):
    plain = b"".join(PING * pings + data_line(chunk(text)) for pings, text in said) + PING + DONE
    stream = plain if dialect == "plain" else resumable(said).replace(b"event: done\n", b"")
    ours = openai_chunks(stream, places)
    texts = [each.choices[0].delta.content for each in ours if each.object]
    assert texts == [text for _, text in said]


@given(sent=st.lists(events, max_size=6), end=st.sampled_from(["\n", "\r", "\r\n"]))
@settings(unhurried, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
async def test_what_aiohttp_sse_writes_reads_back(sent, end):
    async with written_by_aiohttp_sse(sent, end) as answer:
        decoder, heard = Decoder(), []
        async for piece in answer.content.iter_any():
            heard += decoder.feed(piece)
    assert heard == sent
    assert not decoder.pending


def openai_chunks(stream, places):
    pieces = [piece for piece in cut(stream, places) if piece]
    sdk, answers = openai_client()
    answers.append(httpx2.Response(200, headers=HEAD, content=iter(pieces)))
    return list(sdk.chat.completions.create(model="m", messages=[], stream=True))


@cache
def openai_client():
    """The SDK over a transport that gives out the next of these answers."""
    answers = []
    transport = httpx2.MockTransport(lambda _: answers.pop())
    client = openai.DefaultHttpxClient(transport=transport)
    return openai.OpenAI(api_key="x", base_url="http://localhost", http_client=client, max_retries=0), answers


@asynccontextmanager
async def written_by_aiohttp_sse(sent, end):
    async def tell(request):
        async with sse_response(request, sep=end) as answer:
            for each in sent:
                await answer.send(each.data.decode(), id=each.id, event=each.event, retry=each.retry_ms)
        return answer

    app = web.Application()
    app.router.add_get("/", tell)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        async with aiohttp.ClientSession() as session, session.get(f"http://{host}:{port}/") as answer:
            yield answer
    finally:
        await runner.cleanup()
