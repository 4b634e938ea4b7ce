"""Answers of models through the graph: at once, as tokens come, and read again from a cursor."""

import asyncio

import msgspec

from citadel_edge.accounts.news import News, Subject
from citadel_edge.config.shape import ListenerName, RoutingConfig, StreamsConfig, TierConfig
from citadel_edge.listeners.graphql.resolvers.collected import Collected
from citadel_edge.simulator.faults import Fault, FaultKind
from citadel_edge.simulator.options import SimulatorOptions
from citadel_edge.simulator.timing import Timing
from graphs import GRAPH, everything, graph_over, open_generators

LENGTH = 30
STEADY = SimulatorOptions(shortest=LENGTH, longest=LENGTH, timing=Timing(first_token_ms=5, decode_ms=5))
SLOW = SimulatorOptions(shortest=400, longest=400, timing=Timing(first_token_ms=5, decode_ms=20))
CHAT = {"model": "sim-model", "messages": [{"role": "USER", "content": "Say something."}]}
ERRORS = "errors { code message field retryAfterS }"
USAGE = "usage { promptTokens completionTokens totalTokens }"
END = f"end {{ outcome finishReason {USAGE} costUsd attempts error {{ code }} tokensSaved }}"
EVENT = f"{{ {ERRORS} streamId cursor recovered lost {{ first last }} text chunks durable {END} moved }}"
LIVE = f"subscription($c: ChatInput!) {{ chat(input: $c) {EVENT} }}"
READ = f"subscription($id: ID!, $after: Cursor) {{ stream(id: $id, after: $after) {EVENT} }}"
WHOLE = (
    f"mutation($c: ChatInput!) {{ chat(input: $c) {{ {ERRORS} streamId content reasoning toolCalls finishReason outcome"
    " usage { promptTokens completionTokens totalTokens } costUsd attempts model upstream decisionId"
    " decision { outcome model } } }"
)
CANCEL = f"mutation($id: ID!) {{ cancelStream(input: {{id: $id}}) {{ {ERRORS} tokensSaved stream {{ state }} }} }}"


async def events(stream, name, most=None):
    found = []
    async for result in stream:
        assert result.errors is None, result.errors
        found.append(result.data[name])
        if len(found) == most:
            break
    return found


def text_of(found):
    return "".join(event["text"] for event in found)


async def over_http(served, **fields):
    url = served.url("/v1/chat/completions", ListenerName.ROUTING)
    async with served.client.post(url, json=served.chat(**fields), headers=served.as_user()) as answer:
        return (await answer.json())["choices"][0]["message"]["content"]


async def idle(served):
    """Nothing runs, holds a seat or a lease any more."""
    for _ in range(200):
        budget = served.edge.budgets[GRAPH].snapshot()
        rows = served.edge.fleet.table.rows.values()
        if not served.edge.production.running and not budget["tasks"] and not any(row.in_flight for row in rows):
            return True
        await asyncio.sleep(0.01)
    return False


async def test_an_answer_comes_with_what_it_took_and_who_gave_it(edge_with):
    async with edge_with(options=(STEADY,)) as served:
        graph = await graph_over(served)
        context = graph.context(graph.user)
        result = await graph.result(WHOLE, context=context, c={**CHAT, "maxTokens": 20, "temperature": 0})
        assert result.errors is None
        told = result.data["chat"]
        assert told["errors"] == []
        assert told["content"] == await over_http(served, max_tokens=20, temperature=0)
        assert (told["finishReason"], told["outcome"], told["model"], told["upstream"]) == (
            "length", "DONE", "sim-model", "sim-0",
        )  # fmt: skip
        usage = told["usage"]
        assert usage["completionTokens"] == 20
        assert told["costUsd"] == (usage["promptTokens"] + 20 * 2) / 1e6
        assert told["decision"] == {"outcome": "DONE", "model": "sim-model"}
        spent = context.spent.tokens
        assert (spent.tokens_in, spent.tokens_out, spent.usd) == (usage["promptTokens"], 20, told["costUsd"])
        assert graph.noted[0]["outcome"] == "done"
        rows = await served.rows()
        assert [(row["endpoint"], row["listener"], row["user_id"]) for row in rows][:1] == [
            ("/graphql", "graphql-api", graph.user.user_id)
        ]
        read = await graph.ask(
            "query($id: ID!) { stream(id: $id) { state model end { outcome costUsd } } }",
            who=graph.user,
            id=told["streamId"],
        )
        assert read["stream"] == {
            "state": "DONE",
            "model": "sim-model",
            "end": {"outcome": "DONE", "costUsd": told["costUsd"]},
        }
        assert await idle(served)


async def test_what_forbids_a_chat_is_told_as_data(edge_with):
    tiers = (TierConfig(name="free", requests_per_minute=1, models=("sim-model",)),)
    async with edge_with(options=(STEADY,), changes={"tiers": tiers}) as served:
        graph = await graph_over(served)

        async def refused(**fields):
            told = (await graph.ask(WHOLE, who=graph.user, c={**CHAT, **fields}))["chat"]
            live = await graph_events(graph, {**CHAT, **fields})
            assert told["content"] is None
            assert [event["errors"][0]["code"] for event in live] == [told["errors"][0]["code"]]
            return told["errors"][0]["code"], told["errors"][0]["field"]

        assert await refused(model="none") == ("MODEL_NOT_FOUND", "model")
        assert await refused(messages=[]) == ("INVALID_REQUEST", "messages")
        long = [{"role": "USER", "content": "word " * 20_000}]
        assert await refused(messages=long) == ("CONTEXT_LENGTH_EXCEEDED", "messages")
        assert await refused(extra={"stream": False}) == ("INVALID_REQUEST", "extra")
        assert await refused(extra=[1]) == ("INVALID_REQUEST", "extra")
        for most in (0, -1):
            assert await refused(maxTokens=most) == ("INVALID_REQUEST", "maxTokens")
            assert await refused(extra={"max_completion_tokens": most}) == ("INVALID_REQUEST", "extra")
        assert await refused(timeoutS=0) == ("INVALID_REQUEST", "timeoutS")
        assert await refused(graceS=-1) == ("INVALID_REQUEST", "graceS")
        assert await refused(session="x" * 300) == ("INVALID_REQUEST", "session")
        assert (await graph.ask(WHOLE, who=graph.user, c=CHAT))["chat"]["errors"] == []
        told = (await graph.ask(WHOLE, who=graph.user, c=CHAT))["chat"]["errors"][0]
        assert told["code"] == "RATE_LIMIT_EXCEEDED"
        assert told["retryAfterS"] > 0
        assert len(await served.rows("SELECT 1 FROM usage_events WHERE outcome = 'done'")) == 1
        assert await idle(served)


async def graph_events(graph, chat):
    async with graph.hear(LIVE, who=graph.user, c=chat) as stream:
        return await events(stream, "chat")


async def test_tokens_come_as_they_are_made_and_end_with_one_record(edge_with):
    async with edge_with(options=(STEADY,)) as served:
        graph = await graph_over(served)
        context = graph.context(graph.user)
        async with graph.hear(LIVE, context=context, c={**CHAT, "temperature": 0}) as stream:
            found = await events(stream, "chat")
        first, last = found[0], found[-1]
        assert first["streamId"].startswith("str_")
        assert (first["text"], first["end"], first["cursor"].endswith(":0")) == ("", None, True)
        assert {event["streamId"] for event in found} == {first["streamId"]}
        assert text_of(found) == await over_http(served, temperature=0)
        assert [event["end"] for event in found[:-1]] == [None] * (len(found) - 1)
        assert (last["end"]["outcome"], last["end"]["finishReason"]) == ("DONE", "stop")
        assert last["end"]["usage"]["completionTokens"] == LENGTH == context.spent.tokens.tokens_out
        assert last["end"]["costUsd"] == context.spent.tokens.usd > 0
        chunks = [msgspec.json.decode(chunk) for event in found for chunk in event["chunks"]]
        assert all(chunk["object"] == "chat.completion.chunk" for chunk in chunks)
        assert await idle(served)


async def test_who_left_comes_back_by_any_cursor_and_misses_nothing(edge_with):
    async with edge_with(options=(STEADY,)) as served:
        graph = await graph_over(served)
        async with graph.hear(LIVE, who=graph.user, c={**CHAT, "temperature": 0}) as stream:
            begun = await events(stream, "chat", most=4)
        name, cut = begun[0]["streamId"], begun[-1]["cursor"]
        async with graph.hear(READ, who=graph.user, id=name, after=cut) as stream:
            rest = await events(stream, "stream")
        assert (rest[0]["recovered"], rest[0]["lost"], rest[0]["cursor"]) == ("FULL", None, cut)
        assert [event["recovered"] for event in rest[1:]] == [None] * len(rest[1:])
        whole = await over_http(served, temperature=0)
        assert text_of(begun) + text_of(rest) == whole
        async with graph.hear(READ, id=name) as stream:  # an operator, from the first event on
            again = await events(stream, "stream")
        assert text_of(again) == whole
        assert again[-1]["end"] == rest[-1]["end"]
        asked = f"query($id: ID!) {{ stream(id: $id) {{ cursor {END} }} }}"
        kept = (await graph.result(asked, who=graph.user, id=name)).data["stream"]
        assert (kept["end"], rest[-1]["end"]["finishReason"]) == (rest[-1]["end"], "stop")
        async with graph.hear(READ, who=graph.user, id=name, after=kept["cursor"]) as stream:
            assert (await events(stream, "stream"))[-1]["end"] == kept["end"]
        async with graph.hear(READ, who=graph.user, id=name, after=rest[-1]["cursor"]) as stream:
            nothing = await events(stream, "stream")
        assert (text_of(nothing), nothing[-1]["end"]["outcome"]) == ("", "DONE")
        async with graph.hear(READ, who=graph.user, id=name, after="zzzzzzzz:3") as stream:
            foreign = await events(stream, "stream")
        assert foreign[0]["recovered"] == "NONE"
        assert text_of(foreign) == whole


async def test_another_s_stream_is_not_there(edge_with):
    async with edge_with(options=(STEADY,)) as served:
        graph = await graph_over(served)
        name = (await graph.ask(WHOLE, c=CHAT))["chat"]["streamId"]
        for identity, after in ((name, None), ("str_none", None), (name, "no cursor")):
            async with graph.hear(READ, who=graph.user, id=identity, after=after) as stream:
                found = await events(stream, "stream")
            code = "INVALID_REQUEST" if after else "NOT_FOUND"
            assert [event["errors"][0]["code"] for event in found] == [code]
        assert await graph.ask("query($id: ID!) { stream(id: $id) { id } }", who=graph.user, id=name) == {
            "stream": None
        }
        assert (await graph.ask(CANCEL, who=graph.user, id=name))["cancelStream"]["errors"][0]["code"] == "NOT_FOUND"


async def test_running_streams_are_listed_and_stopped(edge_with):
    listing = "{ streams { complete nodes " + "{ plainId state userId model onDisconnect readers } } }"
    async with edge_with(options=(SLOW,)) as served:
        graph = await graph_over(served)
        async with graph.hear(LIVE, who=graph.user, c={**CHAT, "onDisconnect": "FINISH"}) as stream:
            name = (await events(stream, "chat", most=3))[0]["streamId"]
            listed = (await graph.ask(listing, who=graph.user))["streams"]
            assert listed["complete"]
            assert [(one["plainId"], one["state"], one["onDisconnect"]) for one in listed["nodes"]] == [
                (name, "RUNNING", "FINISH")
            ]
            everybody = await graph.ask(
                "{ streams " + everything(graph.schema.type_map["StreamConnection"], depth=5) + "}"
            )
            assert len(everybody["streams"]["nodes"]) == 1
            stopped = (await graph.ask(CANCEL, who=graph.user, id=name))["cancelStream"]
            assert stopped["stream"] == {"state": "CANCELLED"}
            assert stopped["tokensSaved"] > 0
            rest = await events(stream, "chat")
        assert rest[-1]["end"]["outcome"] == "CANCELLED"
        assert (await graph.ask(listing, who=graph.user))["streams"]["nodes"] == []
        over = (await graph.ask(CANCEL, who=graph.user, id=name))["cancelStream"]
        assert (over["stream"], over["tokensSaved"]) == ({"state": "CANCELLED"}, 0)
        assert await idle(served)


async def test_streams_of_all_instances_are_listed(edge_with, tmp_path):
    async with edge_with(options=(SLOW,)) as served, edge_with(beside=served, data_dir=tmp_path / "other") as other:
        here, there = await graph_over(served), await graph_over(other)
        async with there.hear(LIVE, who=there.user, c=CHAT) as stream:
            name = (await events(stream, "chat", most=3))[0]["streamId"]
            listed = (await here.ask("{ streams { complete nodes { plainId } } }", who=here.user))["streams"]
            assert listed == {"complete": True, "nodes": [{"plainId": name}]}
            assert (await here.ask("{ streams { nodes { plainId } } }"))["streams"]["nodes"] == [{"plainId": name}]
            assert (await here.ask(CANCEL, who=here.user, id=name))["cancelStream"]["errors"] == []
        assert await idle(other)


async def test_the_same_start_is_one_generation(edge_with):
    async with edge_with(options=(STEADY,)) as served:
        graph = await graph_over(served)
        named = {**CHAT, "idempotencyKey": "one"}
        first, second = await asyncio.gather(*(graph.ask(WHOLE, who=graph.user, c=named) for _ in range(2)))
        assert first["chat"]["streamId"] == second["chat"]["streamId"]
        assert first["chat"]["content"] == second["chat"]["content"]
        other = {**named, "maxTokens": 3}
        assert (await graph.ask(WHOLE, who=graph.user, c=other))["chat"]["errors"][0]["code"] == "IDEMPOTENCY_MISMATCH"
        assert len(await served.rows()) == 1


async def test_an_answer_whose_log_has_lost_its_beginning_is_not_told_as_whole(edge_with, tmp_path):
    changes = {"streams": StreamsConfig(max_bytes=2_000)}
    async with edge_with(options=(STEADY,), changes=changes) as one:
        named = {**CHAT, "idempotencyKey": "one", "temperature": 0}
        first = (await (await graph_over(one)).ask(WHOLE, c=named))["chat"]
        async with edge_with(beside=one, data_dir=tmp_path / "other", changes=changes) as other:
            again = (await (await graph_over(other)).ask(WHOLE, c=named))["chat"]
    assert (again["streamId"], first["errors"]) == (first["streamId"], [])
    assert first["content"].endswith(again["content"])
    assert len(again["content"]) < len(first["content"])
    assert (again["outcome"], [error["code"] for error in again["errors"]]) == ("DONE", ["INTERNAL"])


async def test_a_client_that_leaves_takes_the_generation_with_it_unless_it_said_otherwise(edge_with):
    async with edge_with(options=(SLOW,)) as served:
        graph = await graph_over(served)
        asking = asyncio.get_running_loop().create_task(graph.ask(WHOLE, who=graph.user, c=CHAT))
        while not served.edge.production.running:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.1)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert await idle(served)
        rows = await served.rows()
        assert [row["outcome"] for row in rows] == ["cancelled"]
        async with graph.hear(LIVE, who=graph.user, c={**CHAT, "onDisconnect": "CANCEL"}) as stream:
            await events(stream, "chat", most=3)
        assert await idle(served)
        assert served.edge.hub.subscribers().total() == 0


async def test_a_subscription_that_nobody_began_to_read_holds_nothing(edge_with):
    async with edge_with(options=(STEADY,)) as served:
        graph = await graph_over(served)
        async with graph.hear(LIVE, who=graph.user, c=CHAT):
            pass
        assert not served.edge.production.running
        assert await served.rows() == []


async def test_a_revoked_key_ends_its_chats(edge_with):
    async with edge_with(options=(SLOW,)) as served:
        graph = await graph_over(served)
        async with graph.hear(LIVE, who=graph.user, c=CHAT) as stream:
            await events(stream, "chat", most=3)
            served.edge.presence.heed(News(Subject.KEY, graph.user.key_id, ended=True))
            rest = await events(stream, "chat")
        assert rest[-1]["end"]["error"] == {"code": "INVALID_API_KEY"}
        assert await idle(served)
        assert open_generators() == []


async def test_an_answer_that_breaks_off_is_told_as_what_it_is(edge_with):
    fault = Fault(kind=FaultKind.END_EARLY, after_tokens=5)
    broken = SimulatorOptions(shortest=LENGTH, longest=LENGTH, faults=(fault,))
    routing = RoutingConfig(probe_interval_s=0.1, retries=0)
    async with edge_with(options=(broken,), changes={"routing": routing}) as served:
        graph = await graph_over(served)
        told = (await graph.ask(WHOLE, who=graph.user, c=CHAT))["chat"]
        assert (told["outcome"], told["errors"][0]["code"]) == ("TRUNCATED", "UPSTREAM_ERROR")
        assert told["content"]
        assert told["costUsd"] > 0
        async with graph.hear(LIVE, who=graph.user, c=CHAT) as stream:
            found = await events(stream, "chat")
        assert (found[-1]["end"]["outcome"], found[-1]["end"]["error"]) == ("TRUNCATED", {"code": "UPSTREAM_ERROR"})
        assert await idle(served)


async def test_a_refusal_of_the_engine_is_told_in_its_words(edge_with):
    async with edge_with(options=(STEADY,)) as served:
        graph = await graph_over(served)
        wrong = {**CHAT, "extra": {"priority": 5}}
        told = (await graph.ask(WHOLE, who=graph.user, c=wrong))["chat"]
        assert (told["content"], told["outcome"]) == (None, "ERROR")
        assert "priority" in told["errors"][0]["message"]
        assert await idle(served)


async def test_a_draining_process_says_where_to_go_on(edge_with):
    async with edge_with(options=(SLOW,)) as served:
        graph = await graph_over(served)
        async with graph.hear(LIVE, who=graph.user, c=CHAT) as stream:
            begun = await events(stream, "chat", most=3)
            asking = asyncio.get_running_loop().create_task(graph.ask(WHOLE, who=graph.user, c=CHAT))
            while len(served.edge.production.running) < 2:
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.1)
            await served.edge.production.hand_on(2)
            rest = await events(stream, "chat")
        assert rest[-1]["moved"]
        assert rest[-1]["streamId"] == begun[0]["streamId"]
        answer = (await asking)["chat"]
        assert answer["errors"][0]["code"] == "LISTENER_STOPPED"


async def test_feedback_is_kept_of_one_s_own_answers(edge_with):
    send = (
        f"mutation($i: SendFeedbackInput!) {{ sendFeedback(input: $i) {{ {ERRORS}"
        " feedback { decisionId score comment replaced } } }"
    )
    async with edge_with(options=(STEADY,)) as served:
        graph = await graph_over(served)
        name = (await graph.ask(WHOLE, who=graph.user, c=CHAT))["chat"]["decisionId"]
        given = {"decisionId": name, "score": 0.5, "comment": "so so"}
        told = (await graph.ask(send, who=graph.user, i=given))["sendFeedback"]
        assert told["feedback"] == {**given, "replaced": False}
        assert (await graph.ask(send, who=graph.user, i=given))["sendFeedback"]["feedback"]["replaced"]
        other = (await graph.ask(send, i=given))["sendFeedback"]
        assert other["errors"][0]["code"] == "NOT_FOUND"
        wrong = (await graph.ask(send, who=graph.user, i={**given, "score": 2}))["sendFeedback"]
        assert (wrong["errors"][0]["code"], wrong["errors"][0]["field"]) == ("INVALID_REQUEST", "score")


def test_calls_of_tools_are_put_together_from_their_pieces():
    pieces = (
        {"role": "assistant", "reasoning": "hm"},
        {"tool_calls": [{"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x"'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}, {"index": 1, "function": {"arguments": "{}"}}]},
        {"tool_calls": ["odd", {"index": "odd"}], "content": None},
    )
    collected = Collected()
    for delta in pieces:
        collected.take([msgspec.json.encode({"choices": [{"index": 0, "delta": delta}]})])
    end = {
        "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}, {"index": 1, "delta": {"content": "x"}}]
    }
    collected.take([msgspec.json.encode(end), b"odd"])
    assert (collected.text, collected.reasoning, collected.finish_reason) == (None, "hm", "tool_calls")
    assert collected.tool_calls == [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]
