"""Generations on a WebSocket of `citadel.v1`, with a client that is not ours."""

import asyncio
import json

import pytest

from citadel_edge.config.shape import ListenerName
from citadel_edge.listeners.streaming.websocket.generations import _token
from citadel_edge.listeners.streaming.websocket.messages import encode
from citadel_edge.simulator.options import SimulatorOptions
from citadel_edge.simulator.timing import Timing
from citadel_edge.streams.values import Batch
from websocket_client import STREAMING, talking, text_of, whole_text

pytestmark = pytest.mark.usefixtures("full_speed")
SLOW = SimulatorOptions(timing=Timing(decode_ms=20), shortest=400, longest=400)
LONGER = SimulatorOptions(timing=Timing(decode_ms=4), shortest=400, longest=400)
BRISK = SimulatorOptions(timing=Timing(decode_ms=4), shortest=120, longest=120)


async def until(condition, within_s=10.0):
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.005)


async def nothing_runs(served, connections=0):
    """But two tasks a connection."""
    budget = served.edge.budgets[STREAMING]
    await until(lambda: (s := budget.snapshot())["tasks"] == s["spawned"] - 2 * connections == 0)


async def test_a_chat_is_acknowledged_told_token_by_token_and_ended_once_with_its_account(edge_with):
    async with edge_with() as served, talking(served, served.as_user()) as talk:
        request = served.chat()
        ack = await talk.chat(request)
        assert ack == {"id": "chat-1", "type": "ack", "stream": ack["stream"]}
        *tokens, done = await talk.rest("chat-1")
        assert {each["type"] for each in tokens} == {"token"}
        assert text_of(tokens) == await whole_text(served, request)
        numbers = [int(each["cursor"].partition(":")[2]) for each in tokens]
        assert numbers == sorted(set(numbers))
        assert numbers[-1] == sum(len(each["chunks"]) for each in tokens)
        assert (done["outcome"], done["stream"], done["attempts"]) == ("done", ack["stream"], 1)
        assert done["usage"]["completion_tokens"] > 0
        assert done["cost_usd"] > 0
        row, _ = await served.rows()
        assert (row["listener"], row["endpoint"], row["outcome"]) == ("streaming-api", "/v1/ws", "done")
        assert row["tokens_out"] == done["usage"]["completion_tokens"]
        line = next(json.loads(each) for each in served.log.getvalue().splitlines() if '"generation"' in each)
        assert (line["outcome"], line["tokens_out"]) == ("done", row["tokens_out"])
        await nothing_runs(served, connections=1)


async def test_many_operations_share_a_connection_and_each_is_whole(edge_with):
    async with edge_with(options=(BRISK, BRISK)) as served, talking(served, served.as_user()) as talk:
        requests = [{**served.chat(), "messages": [{"role": "user", "content": f"Question {n}"}]} for n in range(12)]
        for n, request in enumerate(requests):
            await talk.say({"id": n, "type": "chat", "request": request})
        await talk.say({"id": "in between", "type": "ping"})
        left = set(range(12))
        while left:
            message = await talk.hear()
            if message["type"] == "done":
                left.remove(message["id"])
        texts = [text_of([each for each in talk.heard if each["id"] == n]) for n in range(12)]
        assert texts == await asyncio.gather(*(whole_text(served, request) for request in requests))
        assert {"id": "in between", "type": "pong"} in talk.heard[:50]
        assert len(await served.rows()) == 24


async def test_a_cancelled_chat_is_stopped_at_its_engine_and_billed_for_what_it_said(edge_with):
    async with edge_with(options=(SLOW,)) as served, talking(served, served.as_user()) as talk:
        ack = await talk.chat(served.chat(max_tokens=400))
        while sum(each["type"] == "token" for each in talk.heard) < 5:
            await talk.hear()
        await talk.say({"id": ack["id"], "type": "cancel"})
        asked = asyncio.get_running_loop().time()
        await until(lambda: served.simulators[0].stats.cancelled == 1)
        assert asyncio.get_running_loop().time() - asked < 0.1 * 10  # the promise is 100 ms; this machine is shared
        *_, done = await talk.rest(ack["id"])
        assert (done["type"], done["outcome"]) == ("done", "cancelled")
        assert 0 < done["usage"]["completion_tokens"] < 100
        assert done["tokens_saved"] > 300
        assert (await talk.ask({"id": ack["id"], "type": "cancel"}))["code"] == "not_found"
        await nothing_runs(served, connections=1)


async def test_a_chat_can_be_cancelled_before_anything_came_of_it(edge_with):
    late = SimulatorOptions(timing=Timing(first_token_ms=5000))
    async with edge_with(options=(late,)) as served, talking(served, served.as_user()) as talk:
        await talk.say({"id": "1", "type": "chat", "request": served.chat()})
        await talk.say({"id": "1", "type": "cancel"})
        *_, done = await talk.rest("1")
        assert (done["type"], done["outcome"]) == ("done", "cancelled")
        await nothing_runs(served, connections=1)


async def test_a_dropped_chat_goes_on_and_is_resumed_on_another_connection_to_the_last_letter(edge_with):
    async with edge_with(options=(BRISK,)) as served:
        request = served.chat(max_tokens=120)
        whole = await whole_text(served, request)
        async with talking(served, served.as_user()) as talk:
            stream = (await talk.chat(request))["stream"]
            while sum(each["type"] == "token" for each in talk.heard) < 10:
                await talk.hear()
            talk.socket.transport.abort()
        heard = talk.heard
        for rest in (10, None):
            async with talking(served, served.as_user()) as talk:
                after = heard[-1]["cursor"]
                ack = await talk.ask({"id": "again", "type": "resume", "stream": stream, "after": after})
                assert ack == {"id": "again", "type": "ack", "stream": stream, "recovered": "full"}
                if rest is not None:
                    for _ in range(rest):
                        await talk.hear()
                    talk.socket.transport.abort()
                    heard += talk.heard[1:]
                    continue
                heard += await talk.rest("again")
        assert text_of(heard) == whole
        assert heard[-1]["outcome"] == "done"
        rows = await served.rows()
        assert [row["endpoint"] for row in rows] == ["/v1/chat/completions", "/v1/ws"]


async def test_a_stream_that_is_over_is_read_again_from_anywhere_by_its_owner_alone(edge_with):
    async with edge_with() as served:
        async with talking(served, served.as_user()) as talk:
            stream = (await talk.chat(served.chat()))["stream"]
            first = await talk.rest("chat-1")
            epoch, _, last = first[-2]["cursor"].partition(":")

            async def resumed(**fields):
                ack = await talk.ask({"id": 7, "type": "resume", "stream": stream, **fields})
                return ack, await talk.rest(7)

            ack, again = await resumed()
            assert "recovered" not in ack
            assert (text_of(again), again[-1] | {"id": "chat-1"}) == (text_of(first), first[-1])
            for seq in (int(last), int(last) + 1):
                ack, again = await resumed(after=f"{epoch}:{seq}")
                assert (ack["recovered"], [each["type"] for each in again]) == ("full", ["done"])
            for foreign in (f"{epoch}:{int(last) + 2}", "zzzzzzzz:3"):
                ack, again = await resumed(after=foreign)
                assert (ack["recovered"], text_of(again)) == ("none", text_of(first))
            for wrong in ("nonsense", "", "a:-1"):
                refused = await talk.ask({"id": 7, "type": "resume", "stream": stream, "after": wrong})
                assert (refused["type"], refused["code"], refused["param"]) == ("error", "invalid_request", "after")
            for name in ("str_unknown", "", stream + "0"):
                refused = await talk.ask({"id": 7, "type": "resume", "stream": name})
                assert (refused["type"], refused["code"]) == ("error", "not_found")
        async with talking(served, await another_user(served)) as talk:
            refused = await talk.ask({"id": 7, "type": "resume", "stream": stream})
            assert (refused["type"], refused["code"]) == ("error", "not_found")
        async with talking(served, served.as_admin()) as talk:
            await talk.say({"id": 7, "type": "resume", "stream": stream})
            assert text_of(await talk.rest(7)) == text_of(first)


async def another_user(served):
    accounts = served.url("", ListenerName.RATE_LIMITING)
    named = {"name": "eve", "tier": "free"}
    async with served.client.post(f"{accounts}/v1/users", json=named, headers=served.as_admin()) as answer:
        user = await answer.json()
    url = f"{accounts}/v1/users/{user['id']}/keys"
    async with served.client.post(url, json={"name": "k"}, headers=served.as_admin()) as answer:
        return {"Authorization": f"Bearer {(await answer.json())['key']}"}


async def test_a_client_that_leaves_leaves_its_chats_to_their_on_disconnect(edge_with):
    wanted = {"cancel": "cancelled", "grace": "done", "finish": "done"}
    async with edge_with(options=(LONGER,)) as served:
        async with talking(served, served.as_user()) as talk:
            for policy in wanted:
                await talk.say(
                    {"id": policy, "type": "chat", "request": served.chat(max_tokens=400), "on_disconnect": policy}
                )
            while len({each["id"] for each in talk.heard if each["type"] == "token"}) < 3:
                await talk.hear()
            streams = {each["id"]: each["stream"] for each in talk.heard if each["type"] == "ack"}
            talk.socket.transport.abort()
        await until(lambda: served.simulators[0].stats.cancelled == 1)
        async with talking(served, served.as_user()) as talk:
            for policy, outcome in wanted.items():
                await talk.say({"id": policy, "type": "resume", "stream": streams[policy]})
                assert (await talk.rest(policy))[-1]["outcome"] == outcome
        assert sorted(row["outcome"] for row in await served.rows()) == sorted(wanted.values())
        await nothing_runs(served)


async def test_a_reader_that_only_stops_reading_leaves_the_others_their_answer(edge_with):
    async with edge_with(options=(BRISK,)) as served, talking(served, served.as_user()) as talk:
        request = served.chat(max_tokens=120)
        ack = await talk.chat(request)
        await talk.say({"id": "beside", "type": "resume", "stream": ack["stream"]})
        while not any(each["id"] == "beside" for each in talk.heard):
            await talk.hear()
        await talk.say({"id": "beside", "type": "cancel", "stop": False})
        await talk.rest("chat-1")
        of_beside = [each for each in talk.heard if each["id"] == "beside"]
        assert (of_beside[0]["type"], of_beside[-1]["type"], of_beside[-1]["outcome"]) == ("ack", "done", "cancelled")
        assert text_of([e for e in talk.heard if e["id"] == "chat-1"]) == await whole_text(served, request)


REFUSED = [
    ({"request": {"model": "sim-model", "messages": [{"role": "user", "content": "x"}]}, "grace_s": -1}, "grace_s"),
    ({"request": {"model": "sim-model", "messages": []}}, "messages"),
    ({"request": {"model": "sim-model"}}, "messages"),
    ({"request": {}}, "messages"),
    ({"request": []}, None),
    ({"request": None}, None),
    ({}, None),
]


async def test_what_cannot_be_a_chat_is_refused_and_nothing_begins(edge_with):
    async with edge_with() as served, talking(served, served.as_user()) as talk:
        for fields, param in REFUSED:
            refused = await talk.ask({"id": "1", "type": "chat", **fields})
            assert (refused["type"], refused["code"]) == ("error", "invalid_request"), fields
            assert "outcome" not in refused
            assert param is None or refused["param"] == param
        refused = await talk.chat({**served.chat(), "model": "nope"})
        assert (refused["type"], refused["code"]) == ("error", "model_not_found")
        assert "outcome" not in refused
        assert (await talk.ask({"id": "1", "type": "ping"}))["type"] == "pong"


async def test_the_same_key_joins_the_stream_that_it_began(edge_with):
    async with edge_with(options=(BRISK,)) as served, talking(served, served.as_user()) as talk:
        request = served.chat(max_tokens=120)
        one = await talk.chat(request, idempotency_key="k1")
        await talk.say({"id": "two", "type": "chat", "request": request, "idempotency_key": "k1"})
        await talk.say({"id": "three", "type": "chat", "request": served.chat(), "idempotency_key": "k1"})
        await talk.rest("two")
        two = next(each for each in talk.heard if each["id"] == "two")
        three = next(each for each in talk.heard if each["id"] == "three")
        assert (two["type"], two["stream"]) == ("ack", one["stream"])
        assert (three["type"], three["code"]) == ("error", "idempotency_mismatch")
        assert text_of([e for e in talk.heard if e["id"] == "two"]) == await whole_text(served, request)
        assert len([row for row in await served.rows() if row["endpoint"] == "/v1/ws"]) == 1


async def test_a_slow_reader_gets_more_at_a_time_and_all_of_it(edge_with):
    fast = SimulatorOptions(shortest=3000, longest=3000)
    async with edge_with(options=(fast,)) as served:
        request = served.chat(max_tokens=3000)
        whole = await whole_text(served, request)
        async with talking(served, served.as_user(), max_queue=1) as talk:
            await talk.chat(request)
            await asyncio.sleep(0.5)
            heard = await talk.rest("chat-1")
        assert text_of(heard) == whole
        assert max(len(each["chunks"]) for each in heard if each["type"] == "token") > 1


async def test_a_failing_engine_ends_the_chat_with_an_error_that_has_an_outcome(edge_with):
    async with edge_with(options=(BRISK,)) as served, talking(served, served.as_user()) as talk:
        await served.simulators[0].fault("cut", after_tokens=10)
        ack = await talk.chat(served.chat(max_tokens=120))
        *_, last = await talk.rest(ack["id"])
        assert last["outcome"] in ("error", "truncated")
        assert last["attempts"] >= 1


async def test_a_revoked_key_ends_its_connection_and_its_chats(edge_with):
    async with edge_with(options=(SLOW,)) as served, talking(served, served.as_user()) as talk:
        await talk.chat(served.chat(max_tokens=400))
        key_id = served.edge.directory.lookup(served.keys.demo_key).key_id
        await served.edge.postgres.execute("UPDATE api_keys SET revoked_at = now() WHERE id = $1", key_id)
        assert (await talk.closed()).code == 4403
        await until(lambda: served.simulators[0].stats.cancelled == 1)
        await nothing_runs(served)


def test_a_token_message_tells_what_is_lost_before_it_even_without_a_token():
    for payloads, cursor in (([b'{"choices":[]}'], "abc:9"), ([], "abc:8")):
        message = _token("a", Batch(first=9, payloads=payloads, epoch="abc", lost=(3, 8)))
        told = json.loads(encode(message))
        assert (told["type"], told["lost"], told["cursor"]) == ("token", [3, 8], cursor)
    assert "lost" not in json.loads(encode(_token("a", Batch(first=9, payloads=[], epoch="abc"))))
