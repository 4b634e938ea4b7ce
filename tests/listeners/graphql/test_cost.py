"""The query's cost and the tokens' cost in one budget: over HTTP, by every way that a chat can be had."""

import asyncio
import json

import pytest

from citadel_edge.config.shape import GraphQLConfig, ListenerName, TierConfig
from citadel_edge.simulator.options import SimulatorOptions
from citadel_edge.simulator.timing import Timing
from citadel_edge.wire.sse import Decoder

GRAPH = ListenerName.GRAPHQL
LENGTH = 12
QUICK = SimulatorOptions(shortest=LENGTH, longest=LENGTH, timing=Timing(first_token_ms=1, decode_ms=1))
SLOW = SimulatorOptions(shortest=400, longest=400, timing=Timing(first_token_ms=5, decode_ms=20))
PER_TOKEN = 0.5
LIMIT = 200
SETTINGS = {"graphql": GraphQLConfig(cost_limit=LIMIT, cost_per_token=PER_TOKEN)}
TIERS = (TierConfig(name="free", requests_per_minute=1),)
CHAT = {"model": "sim-model", "messages": [{"role": "USER", "content": "Say something."}], "temperature": 0}
TOLD = "content usage { promptTokens completionTokens } errors { code message field }"
WHOLE = f"mutation($a: ChatInput!) {{ a: chat(input: $a) {{ {TOLD} }} }}"
TWICE = (
    f"mutation($a: ChatInput!, $b: ChatInput!) {{ a: chat(input: $a) {{ {TOLD} }} b: chat(input: $b) {{ {TOLD} }} }}"
)
LIVE = "subscription($a: ChatInput!) { chat(input: $a) { streamId end { outcome } errors { code field } } }"
PARTS = (
    "mutation($a: ChatInput!) { chat(input: $a) { content ... @defer { decision { outcome } usage { totalTokens } } } }"
)
AN_ERROR = 5
"""What the one error costs that a chat's answer is taken to have."""
NO_USAGE = 4
"""What a chat without usage spares."""
ESTIMATE = "query($a: ChatInput!) { estimate(input: $a) { tokensIn mostTokensOut cost costLimit } }"


def most(number):
    return {**CHAT, "maxTokens": number}


def sent(served, query, *, accept="application/json", **chats):
    return served.client.post(
        served.url("/graphql", GRAPH),
        json={"query": query, "variables": chats},
        headers={**served.as_user(), "Accept": accept},
    )


async def ask(served, query, **chats):
    async with sent(served, query, **chats) as answer:
        body = await answer.json()
    return body.get("data"), body.get("extensions", {}).get("cost") or body["errors"][0]["extensions"]["cost"]


async def price_of(served, query, **chats):
    """What a query costs beside its tokens, by what it says of a chat that goes nowhere."""
    nowhere = {name: {**chat, "model": "none"} for name, chat in chats.items()}
    return (await ask(served, query, **nowhere))[1]["requested"]


async def figure(served, part):
    async with served.client.get(served.url("/metrics", GRAPH)) as answer:
        line = f'citadel_graphql_cost_sum{{listener="graphql-api",part="{part}"}} '
        return next(float(each.removeprefix(line)) for each in (await answer.text()).splitlines() if line in each)


@pytest.fixture
async def served(edge_with):
    async with edge_with(options=(QUICK,), changes=SETTINGS) as served:
        yield served


async def test_a_chat_is_asked_for_as_estimated_and_settled_to_what_it_took(served):
    estimated, _ = await ask(served, ESTIMATE, a=most(50))
    told = estimated["estimate"]
    assert told["cost"] == (told["tokensIn"] + 50) * PER_TOKEN
    assert told["costLimit"] == LIMIT
    asked = await price_of(served, WHOLE, a=most(50))
    before = [await figure(served, part) for part in ("requested", "actual")]
    data, cost = await ask(served, WHOLE, a=most(50))
    usage = data["a"]["usage"]
    took = (usage["promptTokens"] + LENGTH) * PER_TOKEN
    assert cost == {
        "requested": asked + told["cost"],
        "actual": asked - AN_ERROR + took,
        "limit": LIMIT,
        "tokens": {
            "requested": told["cost"],
            "actual": took,
            "tokensIn": usage["promptTokens"],
            "tokensOut": LENGTH,
            "usd": pytest.approx((usage["promptTokens"] + 2 * LENGTH) / 1e6),
        },
    }
    after = [await figure(served, part) for part in ("requested", "actual")]
    assert [late - early for early, late in zip(before, after, strict=True)] == [cost["requested"], cost["actual"]]


async def test_a_chat_that_does_not_fit_is_refused_with_what_would_and_nothing_is_sent(served):
    told = (await ask(served, ESTIMATE, a=most(1)))[0]["estimate"]
    price = await price_of(served, WHOLE, a=CHAT)
    fitting = int((LIMIT - price) / PER_TOKEN) - told["tokensIn"]
    data, cost = await ask(served, WHOLE, a=most(fitting + 1))
    error = data["a"]["errors"][0]
    assert (error["code"], error["field"], data["a"]["content"]) == ("REQUEST_TOO_LARGE", "maxTokens", None)
    assert f"lower maxTokens to at most {fitting}," in error["message"]
    assert cost == {"requested": price, "actual": price - NO_USAGE, "limit": LIMIT}
    data, _ = await ask(served, WHOLE, a=CHAT)  # without a bound it counts as long as such answers may well be
    assert f"give maxTokens, at most {fitting}" in data["a"]["errors"][0]["message"]
    long = {**most(1), "messages": [{"role": "USER", "content": "word " * 400}]}
    data, _ = await ask(served, WHOLE, a=long)
    assert (data["a"]["errors"][0]["code"], data["a"]["errors"][0]["field"]) == ("REQUEST_TOO_LARGE", "messages")
    async with sent(served, LIVE, accept="text/event-stream", a=most(int(LIMIT / PER_TOKEN))) as answer:
        events = read(await answer.read())
    assert [each["data"]["chat"]["errors"] for each in events] == [
        [{"code": "REQUEST_TOO_LARGE", "field": "maxTokens"}]
    ]
    assert await served.rows("SELECT 1 FROM usage_events WHERE attempts > 0") == []
    data, _ = await ask(served, WHOLE, a=most(fitting))
    assert (data["a"]["errors"], data["a"]["usage"]["completionTokens"]) == ([], LENGTH)


async def test_chats_of_one_mutation_share_its_budget(served):
    price = await price_of(served, TWICE, a=CHAT, b=CHAT)
    told = (await ask(served, ESTIMATE, a=most(1)))[0]["estimate"]
    room = int((LIMIT - price) / PER_TOKEN) - 2 * told["tokensIn"]
    half = room // 2
    data, cost = await ask(served, TWICE, a=most(half), b=most(half + 20))  # what the first leaves is not the second's
    assert (data["a"]["errors"], data["b"]["errors"][0]["code"]) == ([], "REQUEST_TOO_LARGE")
    assert cost["tokens"]["tokensOut"] == LENGTH
    assert cost["tokens"]["requested"] == (told["tokensIn"] + half) * PER_TOKEN
    data, _ = await ask(served, WHOLE, a=most(half + 20))
    assert data["a"]["errors"] == []
    data, cost = await ask(served, TWICE, a=most(half - 20), b=most(half - 20))
    assert [data[name]["errors"] for name in "ab"] == [[], []]
    assert cost["tokens"]["tokensOut"] == 2 * LENGTH


async def test_what_its_limits_refuse_gives_back_what_it_asked_for(edge_with):
    async with edge_with(options=(QUICK,), changes={**SETTINGS, "tiers": TIERS}) as served:
        data, cost = await ask(served, TWICE, a=most(50), b=most(50))
    assert data["b"]["errors"][0]["code"] == "RATE_LIMIT_EXCEEDED"
    assert cost["tokens"]["tokensOut"] == LENGTH
    assert cost["tokens"]["requested"] < 2 * 50 * PER_TOKEN


def read(raw):
    events = [event for event in Decoder().feed(raw) if event.data]
    return [json.loads(event.data) for event in events]


async def test_the_last_word_of_every_transport_has_the_final_figure(served):
    await ask(served, WHOLE, a=most(50))  # from here on it is known how many tokens such a prompt has
    whole = (await ask(served, WHOLE, a=most(50)))[1]["tokens"]
    async with sent(served, LIVE, accept="text/event-stream", a=most(50)) as answer:
        first, *_, last = read(await answer.read())
    assert last["data"]["chat"]["end"]["outcome"] == "DONE"
    assert first["extensions"]["cost"]["tokens"]["actual"] == whole["requested"]  # nothing is known yet
    assert last["extensions"]["cost"]["tokens"] == whole
    async with sent(served, PARTS, accept="multipart/mixed", a=most(50)) as answer:
        parts = [json.loads(part.partition(b"\r\n\r\n")[2]) for part in (await answer.read()).split(b"\r\n---")[1:-1]]
    assert [part["hasNext"] for part in parts] == [True] * (len(parts) - 1) + [False]
    assert len(parts) > 1
    assert parts[-1]["extensions"]["cost"]["tokens"] == whole


async def test_a_chat_that_is_stopped_costs_what_was_made_of_it(edge_with):
    cancel = "mutation($id: ID!) { cancelStream(input: {id: $id}) { tokensSaved } }"
    async with edge_with(options=(SLOW,), changes=SETTINGS) as served:
        async with sent(served, LIVE, accept="text/event-stream", a=most(300)) as answer:
            decoder, events = Decoder(), []
            while len(events) < 3:
                events += [
                    json.loads(event.data) for event in decoder.feed(await answer.content.readany()) if event.data
                ]
            saved = (await ask(served, cancel, id=events[0]["data"]["chat"]["streamId"]))[0]["cancelStream"][
                "tokensSaved"
            ]
            events += [json.loads(event.data) for event in decoder.feed(await answer.read()) if event.data]
        cost = events[-1]["extensions"]["cost"]
        assert events[-1]["data"]["chat"]["end"]["outcome"] == "CANCELLED"
        assert cost["tokens"]["tokensOut"] == 300 - saved
        assert cost["tokens"]["actual"] == (cost["tokens"]["tokensIn"] + 300 - saved) * PER_TOKEN
        assert cost["tokens"]["actual"] < cost["tokens"]["requested"] <= LIMIT


async def test_a_client_that_leaves_is_counted_as_it_asked(edge_with):
    async with edge_with(options=(SLOW,), changes=SETTINGS) as served:
        estimate, _ = await ask(served, ESTIMATE, a=most(300))
        price = await price_of(served, WHOLE, a=most(300))
        before = await figure(served, "actual")
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(ask(served, WHOLE, a=most(300)))
            while not served.edge.production.running:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            asked.cancel()
        async with asyncio.timeout(10):
            while (counted := await figure(served, "actual") - before) == 0:
                await asyncio.sleep(0.01)
        assert counted == price + estimate["estimate"]["cost"]
        assert [row["outcome"] for row in await served.rows()][-1:] == ["cancelled"]


async def test_lists_cost_what_was_in_them(edge_with):
    async with edge_with(options=()) as served:
        question = "query Empty { decisions(first: 20, filter: {outcome: DENIED}) { nodes { id asked } } }"
        data, cost = await ask(served, question)
        connection = 10 + 2
        assert (data["decisions"]["nodes"], cost["requested"], cost["actual"]) == ([], connection + 20 * 4, connection)
        assert await figure(served, "actual") == connection
        question = "{ usage(groupBy: [MODEL, USER, OUTCOME]) { rows { requests tokensIn tokensOut } } }"
        data, cost = await ask(served, question)
        assert (data["usage"]["rows"], cost["actual"] < cost["requested"]) == ([], True)
