"""A stream's readers of others' making lose their connection in the middle, come back, and have missed nothing."""

import asyncio
from contextlib import asynccontextmanager

import httpx
import pytest
from httpx_sse import aconnect_sse

from citadel_edge.simulator.options import SimulatorOptions
from citadel_edge.simulator.timing import Timing
from clients.cutting import lose, way_to
from clients.readers import LONGEST_WAIT_S, REQUEST, STREAMING, Heard, said

pytestmark = pytest.mark.usefixtures("full_speed")
SLOW = SimulatorOptions(timing=Timing(first_token_ms=100, decode_ms=15))
CUT_AFTER = 25  # events
COMES_BACK_S = 0.05


@pytest.fixture
async def served(edge_with):
    async with edge_with(options=(SLOW,)) as served:
        yield served


@asynccontextmanager
async def begun_behind_a_way(served):
    """A stream that has begun, and the way to it that a test may cut: its events' address, and the way."""
    async with way_to(served.url("", STREAMING)) as way:
        async with served.client.post(f"{way.url}/v1/streams", json=REQUEST, headers=served.as_user()) as answer:
            assert answer.status == 201, await answer.text()
            begun = await answer.json()
        assert begun["events_url"].startswith(way.url)
        yield begun["events_url"], way


async def listen(running, way):
    """All that a program hears of a stream until it is told that there is no more; it loses its connection once."""
    heard = Heard()
    async with asyncio.timeout(LONGEST_WAIT_S):
        while (told := await running.hear())["name"] != "closed":
            assert told["name"] != "failed", told["message"]
            if "data" in told:
                heard.event(told["name"], told["id"], told["data"])
            if len(heard.names) == CUT_AFTER and not way.cuts:
                await lose(way)
        return heard, told


def assert_whole(heard, text):
    """Nothing is missing, nothing came twice, and the end came once."""
    assert heard.text == text
    assert heard.numbers == [*range(1, len(heard.numbers) + 1)]
    assert heard.recovered == ["full"]
    assert "lost" not in heard.names
    assert heard.names.count("done") == 1
    assert heard.usage["completion_tokens"] == REQUEST["max_tokens"]


async def test_npm_s_eventsource_comes_back_by_itself_and_stops_when_there_is_no_more(served, node):
    text = await said(served)
    async with begun_behind_a_way(served) as (url, way):
        async with node.running("eventsource_stream.mjs", url=url, key=served.keys.demo_key) as running:
            heard, end = await listen(running, way)
        assert end["code"] == 204
        assert len(way.headers("Last-Event-ID")) == 2  # back from the loss, and from the end
        assert way.headers("Last-Event-ID")[-1] == heard.ids[-1]
    assert_whole(heard, text)


async def test_httpx_sse_comes_back_with_the_last_id_it_saw(served):
    text = await said(served)
    heard = Heard()
    async with (
        begun_behind_a_way(served) as (url, way),
        httpx.AsyncClient(headers=served.as_user(), timeout=LONGEST_WAIT_S) as client,
    ):
        while not heard.done:
            again = {"Last-Event-ID": heard.ids[-1]} if heard.ids else {}
            try:
                async with aconnect_sse(client, "GET", url, headers=again) as source:
                    async for each in source.aiter_sse():
                        heard.event(each.event, each.id, each.data)
                        if len(heard.names) == CUT_AFTER and not way.cuts:
                            await lose(way)
            except httpx.TransportError:
                await asyncio.sleep(COMES_BACK_S)
        assert way.cuts == 1
    assert_whole(heard, text)


async def test_a_page_comes_back_and_shows_the_whole_text(served, node, chromium):
    text = await said(served)
    args = {"key": served.keys.demo_key, "request": REQUEST}
    async with way_to(served.url("", STREAMING)) as way:
        page = node.running("browser_page.mjs", program=chromium, origin=way.url, call="readEvents", args=args)
        async with page as running:
            heard, end = await listen(running, way)
        assert way.cuts == 1
    assert_whole(heard, text)
    assert end["shown"] == text
