"""What clients of the graph hear of a process that stops: live state has no end, and an answer has one."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest
from websockets.exceptions import ConnectionClosed

from citadel_edge.process.drain import DOORS_SHARE, drain
from citadel_edge.simulator.options import SimulatorOptions
from citadel_edge.simulator.timing import Timing
from edges import Served
from event_streams import TOKEN, hearing, operate, reserved
from graphs import GRAPH
from shelf import talking

pytestmark = pytest.mark.usefixtures("full_speed")
SLOW = SimulatorOptions(shortest=400, longest=400, timing=Timing(first_token_ms=5, decode_ms=20))
INPUT = '{model: "sim-model", messages: [{role: USER, content: "Say something."}]}'
LIVE = "subscription { breakerChanges { cursor } }"
TALK = f"subscription {{ chat(input: {INPUT}) {{ streamId text moved }} }}"
WHOLE = f"mutation {{ chat(input: {INPUT}) {{ errors {{ code }} streamId decisionId content outcome }} }}"
GRACE_S = 2.0


@dataclass
class Leaving:
    """An edge with its real door of the graph, and when its drain began."""

    served: Served
    began_s: float = 0.0

    @property
    def url(self):
        return self.served.url("/graphql", GRAPH)

    @property
    def seconds(self):
        return asyncio.get_running_loop().time() - self.began_s

    @asynccontextmanager
    async def draining(self):
        async with asyncio.TaskGroup() as group:
            self.began_s = asyncio.get_running_loop().time()
            group.create_task(drain(self.served.edge, tuple(self.served.doors.values()), GRACE_S))
            yield

    async def until(self, *, readers, made=0):
        edge = self.served.edge
        async with asyncio.timeout(10):
            while edge.hub.subscribers().total() < readers or len(edge.production.running) < made:
                await asyncio.sleep(0.005)


@pytest.fixture
async def leaving(edge_with):
    async with edge_with(options=(SLOW,)) as served:
        yield Leaving(served)


async def heard(socket):
    """All messages up to the close, and its code."""
    found = []
    try:
        while True:
            found.append(await socket.hear())
    except ConnectionClosed as closed:
        return found, closed.rcvd.code


async def begun(events):
    """Read until there is text."""
    while not (await events.next())[1]["data"]["chat"]["text"]:
        pass


async def test_live_state_ends_with_its_connection_and_is_never_complete(leaving):
    served = leaving.served
    token = await reserved(leaving, served.as_admin())
    async with AsyncExitStack() as stack:
        alone, beside = [
            await stack.enter_async_context(talking(leaving.url, init=served.as_admin())) for _ in range(2)
        ]
        await alone.subscribe("live", LIVE)
        await beside.subscribe("live", LIVE)
        await beside.subscribe("chat", TALK)
        distinct = await stack.enter_async_context(hearing(leaving, LIVE, who=served.as_admin()))
        single = await stack.enter_async_context(
            hearing(leaving, method="GET", who=served.as_admin(), **{TOKEN: token})
        )
        assert await operate(leaving, token, LIVE, "live", who=served.as_admin()) == 202
        await leaving.until(readers=4, made=1)
        while (await beside.hear())["payload"]["data"]["chat"]["text"] == "":
            pass
        async with leaving.draining():
            assert await heard(alone) == ([], 1001)
            assert await distinct.rest() == []
            assert await single.rest() == []
            assert leaving.seconds < GRACE_S * DOORS_SHARE / 2
            said, code = await heard(beside)
            assert code == 1001
            assert {each["id"] for each in said} == {"chat"}
            assert said[-2]["payload"]["data"]["chat"]["moved"]
            assert said[-1]["type"] == "complete"


async def test_an_answer_that_moves_has_one_end_and_nothing_behind_it(leaving):
    token = await reserved(leaving)
    async with AsyncExitStack() as stack:
        many = [await stack.enter_async_context(hearing(leaving, TALK)) for _ in range(4)]
        single = await stack.enter_async_context(hearing(leaving, method="GET", **{TOKEN: token}))
        assert await operate(leaving, token, TALK, "chat") == 202
        await leaving.until(readers=0, made=5)
        for events in many:
            await begun(events)
        async with leaving.draining():
            for events in many:
                *_, moved, last = await events.rest()
                assert moved[1]["data"]["chat"]["moved"]
                assert last == ("complete", None)
                assert events.raw.count(b"event: complete") == 1
            *_, moved, last = await single.rest()
            assert moved[1]["payload"]["data"]["chat"]["moved"]
            assert last == ("complete", {"id": "chat"})


async def test_a_mutation_that_is_cut_off_names_its_stream_its_decision_and_what_was_made(leaving):
    served = leaving.served
    asked = served.client.post(leaving.url, json={"query": WHOLE}, headers=served.as_user())
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(answer_of(asked))
        await leaving.until(readers=0, made=1)
        await asyncio.sleep(0.2)
        (stream,) = served.edge.production.running
        async with leaving.draining():
            answer = await asking
            told, tokens = answer["data"]["chat"], answer["extensions"]["cost"]["tokens"]
            assert [error["code"] for error in told["errors"]] == ["LISTENER_STOPPED"]
            assert (told["streamId"], told["content"], told["outcome"]) == (stream, None, None)
            assert told["decisionId"].startswith("dec_")
            assert tokens["tokensIn"] > 0
            assert 0 < tokens["tokensOut"] < 400
            assert tokens["actual"] < tokens["requested"]


async def answer_of(asked):
    async with asked as answer:
        return await answer.json()
