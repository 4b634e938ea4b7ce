"""Answers that outlive their clients, or do not, as they were asked to; each with one end that says what it took."""

import asyncio
import gc
import weakref
from contextlib import AsyncExitStack

import pytest
from aiohttp import web

from citadel_edge.accounts.ledger.event import Outcome
from citadel_edge.accounts.news import News, Subject
from citadel_edge.accounts.presence import Reason
from citadel_edge.completions.keeping import policy_of
from citadel_edge.completions.log_sink import Refused
from citadel_edge.completions.pipeline import Pace
from citadel_edge.completions.producing import once_of
from citadel_edge.completions.request import Kind, parse
from citadel_edge.errors import Code, RequestError
from citadel_edge.streams.values import OnDisconnect, Policy, State
from completions.bench import OpenBench
from completions.scripted import (
    SPOKEN,
    chunk,
    freeze,
    replies,
    reset,
    says,
    says_then,
    stall,
)
from completions.studio import CANCEL, FINISH, read, studio

SLOW = says(*SPOKEN, pause_s=0.02)
ENDLESS = says_then(chunk("a"), chunk("b"), then=stall)
SOON_S = 0.1 * 5


async def test_an_answer_is_logged_whole_and_its_end_says_what_it_took(open_bench: OpenBench) -> None:
    async with studio(open_bench, says(*SPOKEN)) as made:
        async with made.start() as produced:
            begun = await produced.begun()
            text, terminal = await read(produced.reader)
        await made.idle()
    row = made.bench.row
    assert text == "ab"
    assert begun.headers["X-Citadel-Upstream"] == begun.upstream == "u0"
    assert (terminal.outcome, terminal.attempts, terminal.error) == (State.DONE, 1, None)
    assert terminal.usage == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    assert terminal.cost_usd == float(row.cost_usd) > 0
    assert (row.outcome, row.tokens_in, row.tokens_out) == (Outcome.DONE, 7, 2)


async def test_whose_heartbeat_came_first_is_begun_by_who_answers(open_bench: OpenBench) -> None:
    async def fails_late(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.1)
        return await replies(500)(request)

    async with studio(open_bench, freeze, freeze, pace=Pace(begin_within_s=0.01)) as made:
        made.bench.in_order(fails_late, says(*SPOKEN))
        async with made.start(policy=FINISH) as produced:
            first = await produced.begun()
            live = made.production.running[produced.id].live
            await read(produced.reader)
        await made.idle()
    begun = live.begun
    assert begun is not None
    assert {first.upstream, begun.upstream} == {"u0", "u1"}
    assert begun.upstream == made.bench.row.upstream
    assert begun.facts["first_s"] > first.facts["first_s"]


async def test_with_its_last_reader_an_answer_that_lives_by_readers_goes(open_bench: OpenBench) -> None:
    async with studio(open_bench, ENDLESS) as made:
        upstream = made.bench.upstreams[0]
        async with made.start() as produced:
            await produced.begun()
            await produced.reader.next()
        async with asyncio.timeout(SOON_S):
            await upstream.cut.wait()
        await made.idle()
        terminal = await made.end(produced.id)
    assert terminal.outcome is State.CANCELLED
    assert made.bench.row.outcome is Outcome.CANCELLED
    assert terminal.usage["completion_tokens"] == made.bench.row.tokens_out == 2


async def test_a_client_that_leaves_before_the_first_token_is_heard_of_at_once(open_bench: OpenBench) -> None:
    async with studio(open_bench, freeze) as made:
        async with made.start():
            await made.bench.upstreams[0].arrived.wait()
        async with asyncio.timeout(SOON_S):
            await made.bench.upstreams[0].cut.wait()
        await made.idle()
    assert made.bench.row.outcome is Outcome.CANCELLED


async def test_one_of_two_readers_may_leave(open_bench: OpenBench) -> None:
    async with studio(open_bench, SLOW) as made:
        async with AsyncExitStack() as first:
            produced = await first.enter_async_context(made.start())
            await produced.begun()
            await produced.reader.next()
            second = (await made.streams.open(produced.id)).reader
            await first.aclose()
        with second:
            text, terminal = await read(second)
    assert (text, terminal.outcome) == ("ab", State.DONE)


async def test_an_answer_may_go_on_to_its_end_without_anybody(open_bench: OpenBench) -> None:
    async with studio(open_bench, SLOW) as made:
        async with made.start(policy=FINISH) as produced:
            pass
        await made.idle()
        assert (await made.end(produced.id)).outcome is State.DONE
    assert made.bench.row.outcome is Outcome.DONE


async def test_an_answer_waits_a_while_for_a_reader_to_come_back(open_bench: OpenBench) -> None:
    grace = Policy(on_disconnect=OnDisconnect.GRACE, grace_s=1.0)
    async with studio(open_bench, ENDLESS) as made:
        async with made.start(policy=grace) as produced:
            await produced.admitted()
        await asyncio.sleep(0.3)
        with (await made.streams.open(produced.id)).reader as reader:
            await reader.next()
            await asyncio.sleep(1.0)
            assert made.production.running
        await asyncio.sleep(0.3)
        assert made.production.running
        await made.idle(2.0)
        assert (await made.end(produced.id)).outcome is State.CANCELLED


async def test_an_answer_that_is_stopped_says_what_that_saved(open_bench: OpenBench) -> None:
    async with studio(open_bench, ENDLESS) as made:
        async with made.start({"max_tokens": 40}, policy=FINISH) as produced:
            await produced.admitted()
            await produced.reader.next()
        info = await made.streams.stop(produced.id, within_s=2)
        await made.idle()
        again = await made.streams.stop(produced.id, within_s=2)
    assert info.terminal is not None
    assert (info.terminal.outcome, info.terminal.tokens_saved) == (State.CANCELLED, 38)
    assert again.terminal == info.terminal


async def test_a_revoked_key_ends_what_it_started(open_bench: OpenBench) -> None:
    async with studio(open_bench, ENDLESS) as made:
        async with made.start(policy=FINISH) as produced:
            await produced.begun()
            await produced.reader.next()
        made.presence.heed(News(Subject.KEY, "key_1", ended=True))
        await made.idle()
        terminal = await made.end(produced.id)
    assert terminal.outcome is State.CANCELLED
    assert terminal.error["code"] == "invalid_api_key"
    assert made.bench.row.tokens_out == 2


async def test_what_is_refused_before_it_begins_is_its_starters_to_hear(open_bench: OpenBench) -> None:
    async with studio(open_bench, replies()) as made:
        async with made.start({"model": "nobody"}) as produced:
            with pytest.raises(RequestError) as refused:
                await produced.admitted()
        assert refused.value.code is Code.MODEL_NOT_FOUND
        await made.idle()
    assert made.bench.row.outcome is Outcome.ERROR


async def test_an_engines_refusal_is_passed_on_as_it_is(open_bench: OpenBench) -> None:
    body = {
        "error": {"message": "no such thing", "type": "invalid_request_error", "param": "thing", "code": "no_thing"}
    }
    async with studio(open_bench, replies(400, body)) as made:
        async with made.start() as produced:
            with pytest.raises(Refused) as refused:
                await produced.begun()
        await made.idle()
    assert (refused.value.status, refused.value.content_type) == (400, "application/json")
    assert refused.value.error["message"] == "no such thing"


async def test_what_fails_after_the_promise_stands_in_the_stream(open_bench: OpenBench) -> None:
    async with studio(open_bench, replies(400, {"error": {"message": "no"}})) as made:
        async with made.start(policy=FINISH) as produced:
            await produced.admitted()
        terminal = await made.end(produced.id)
        await made.idle()
    assert (terminal.outcome, terminal.error["message"]) == (State.ERROR, "no")


async def test_an_answer_that_breaks_off_is_truncated(open_bench: OpenBench) -> None:
    async with studio(open_bench, says_then(chunk("a"), chunk("b"), then=reset), retries=0) as made:
        async with made.start() as produced:
            text, terminal = await read(produced.reader)
        await made.idle()
    assert (text, terminal.outcome) == ("ab", State.TRUNCATED)
    assert terminal.error["code"] == "upstream_error"
    assert made.bench.row.outcome is Outcome.TRUNCATED


async def test_heartbeats_are_no_events(open_bench: OpenBench) -> None:
    quiet = says(*SPOKEN, pause_s=0.05)
    async with studio(open_bench, quiet, pace=Pace(begin_within_s=0.01, heartbeat_s=0.01)) as made:
        async with made.start() as produced:
            await produced.begun()
            text, terminal = await read(produced.reader)
        assert (text, terminal.outcome) == ("ab", State.DONE)
        info = await made.streams.info(produced.id)
        assert info.cursor.seq == 3
        await made.idle()


async def test_the_seat_is_kept_by_what_outlives_its_handler(open_bench: OpenBench) -> None:
    async with studio(open_bench, ENDLESS, tasks=1) as made:
        async with made.budget.admit() as seat:
            seat.hold(1000)
            async with made.start(policy=FINISH, seat=seat) as produced:
                await produced.begun()
        assert made.budget.snapshot()["tasks"] == 1
        assert made.budget.snapshot()["bytes"] >= 1000
        await made.streams.stop(produced.id)
        await made.idle()
        assert made.budget.snapshot()["tasks"] == 0


async def test_the_seat_is_given_back_by_a_handler_that_outlives_its_answer(open_bench: OpenBench) -> None:
    async with studio(open_bench, says(*SPOKEN), tasks=1) as made:
        async with made.budget.admit() as seat, made.start(seat=seat) as produced:
            await read(produced.reader)
            await made.idle()
            assert made.budget.snapshot()["tasks"] == 1
        assert made.budget.snapshot()["tasks"] == 0


async def test_the_same_start_is_one_start(open_bench: OpenBench) -> None:
    once = once_of(caller="usr_1", path="/v1/streams", key="k", body=b'{"a": 1}')
    async with studio(open_bench, SLOW) as made:
        async with made.start(once=once) as first, made.start(once=once) as second:
            assert (first.created, second.created) == (True, False)
            assert first.id == second.id
            assert await first.begun() == await second.begun()
            assert await read(first.reader) == await read(second.reader)
        other = once_of(caller="usr_1", path="/v1/streams", key="k", body=b'{"a": 2}')
        with pytest.raises(RequestError) as refused:
            async with made.start(once=other):
                pass
        assert refused.value.code is Code.IDEMPOTENCY_MISMATCH
        await made.idle()
    assert made.bench.row.outcome is Outcome.DONE


async def test_a_process_that_ends_tells_why(open_bench: OpenBench) -> None:
    async with studio(open_bench, ENDLESS) as made:
        async with made.start(policy=FINISH) as produced:
            await produced.begun()
            await produced.reader.next()
        made.presence.end_all()
        await made.idle()
        terminal = await made.end(produced.id)
    assert terminal.error["message"].endswith(f"{Reason.DRAINING}.")


async def test_what_the_log_never_heard_of_is_not_left_to_others(open_bench: OpenBench) -> None:
    async with studio(open_bench, freeze) as made:
        async with made.start(policy=FINISH) as produced:
            await produced.admitted()
            await made.bench.upstreams[0].arrived.wait()
            await made.production.hand_on(0.05)
            assert produced.id in made.production.running
        await made.production.close()
        terminal = await made.end(produced.id)
    assert terminal.error["message"].endswith(f"{Reason.DRAINING}.")
    assert made.bench.row.outcome is Outcome.CANCELLED


def test_what_becomes_of_an_answer_is_no_business_of_engines() -> None:
    body = b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "on_disconnect": "finish", "grace_s": 5}'
    request, policy = policy_of(parse(body, Kind.CHAT), CANCEL)
    assert policy == Policy(on_disconnect=OnDisconnect.FINISH, grace_s=5)
    assert b"grace_s" not in request.upstream_body("m")
    assert b"on_disconnect" not in request.upstream_body("m")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        (b'"on_disconnect": "never"', "on_disconnect"),
        (b'"on_disconnect": 1', "on_disconnect"),
        (b'"grace_s": -1', "grace_s"),
        (b'"grace_s": "long"', "grace_s"),
        (b'"grace_s": 1e9', "grace_s"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(fields: bytes, param: str) -> None:
    body = b'{"model": "m", "messages": [{"role": "user", "content": "x"}], ' + fields + b"}"
    with pytest.raises(RequestError) as refused:
        policy_of(parse(body, Kind.CHAT), CANCEL)
    assert refused.value.param == param


async def test_nothing_of_an_answer_waits_for_the_collector(open_bench: OpenBench) -> None:
    async with studio(open_bench, says(*SPOKEN)) as made:
        async with made.start() as produced:
            generation = weakref.ref(made.production.running[produced.id])
            request = weakref.ref(generation().call.tenure)
            await read(produced.reader)
            await made.idle()
        gc.disable()
        try:
            del produced
            await asyncio.sleep(0)
            assert (generation(), request()) == (None, None)
        finally:
            gc.enable()
