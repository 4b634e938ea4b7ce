"""A stream whose producer died goes on here: one text, one row, one end; or it is ended in words."""

import asyncio
import json
from contextlib import nullcontext
from dataclasses import replace as with_other
from typing import Any

import pytest
from msgspec.structs import replace

from citadel_edge.accounts.ledger.event import Outcome, UsageEvent
from citadel_edge.accounts.principal import Principal
from citadel_edge.completions.log_sink import LogSink
from citadel_edge.completions.takeover import Takeover
from citadel_edge.config.shape import Engine
from citadel_edge.errors import Code, RequestError
from citadel_edge.streams.faces import Orphan
from citadel_edge.streams.values import Begun, Policy, State
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.ids import uuid7
from completions.bench import PRINCIPAL, OpenBench
from completions.scripted import DONE, SPOKEN, chunk, freeze, replies, says, usage_chunk
from completions.studio import FINISH, Lines, Studio, read, studio
from limiters import entitlement

SAID = (chunk("a"), chunk("b"))
REST = says(chunk("c"), chunk("d"), chunk(finish="stop"), usage_chunk(9, 2), DONE)


def the_row(made: Studio) -> UsageEvent:
    (row,) = made.bench.ledger.rows
    return row


class Accounts:
    """Knows one caller, or why not."""

    def __init__(self) -> None:
        self.refused: RequestError | None = None
        self.entitlement = PRINCIPAL.entitlement

    async def holder(self, key_id: str) -> Principal:
        if self.refused:
            raise self.refused
        return with_other(PRINCIPAL, key_id=key_id, entitlement=self.entitlement)

    async def entitled(self, user_id: str) -> Principal:
        return with_other(PRINCIPAL, user_id=user_id, key_id="")


def takeover(made: Studio, accounts: Accounts | None = None) -> Takeover:
    return Takeover(
        production=made.production,
        accounts=accounts or Accounts(),
        ledger=made.bench.ledger,
        fleet=made.bench.fleet,
        budgets=made.budgets,
        clock=Clock(),
        log=Lines(),
        accounts_within_s=0.2,
    )


async def orphaned(
    made: Studio,
    body: dict[str, Any] | None = None,
    *,
    said: tuple[bytes, ...] = SAID,
    policy: Policy = FINISH,
    first: int = 1,
) -> Orphan:
    """A stream as its dead producer left it: begun on `u0`, with these events in its log."""
    call = replace(made.call(body), id=uuid7(Clock()))
    live, _, _ = await made.production.create(call, policy, None)
    assert live is not None
    begun = (
        Begun(headers={"X-Citadel-Upstream": "u0"}, upstream="u0", model="m", facts={"first_s": 1.5}) if said else None
    )
    if begun is not None:
        live.begin(begun)
    sink = LogSink(live, on_begin=lambda _: None, on_finish=lambda: None)
    for event in said:
        await sink.write(event)
    payloads = [event.removeprefix(b"data: ").removesuffix(b"\n\n") for event in said]
    return Orphan(live, live.origin, begun, live.reservations, payloads, first)


async def test_an_answer_goes_on_where_the_log_ends(open_bench: OpenBench) -> None:
    async with studio(open_bench, REST) as made:
        orphan = await orphaned(made)
        assert await takeover(made).take(orphan)
        with (await made.streams.open(orphan.live.id)).reader as reader:
            text, terminal = await read(reader)
        await made.idle()
    sent = made.bench.upstreams[0].seen[0].body
    assert text == "abcd"
    assert sent["messages"][-1] == {"role": "assistant", "content": "ab"}
    assert (terminal.outcome, terminal.attempts, terminal.finish_reason) == (State.DONE, 2, "stop")
    assert terminal.usage["completion_tokens"] == 4
    row = the_row(made)
    assert (row.outcome, row.tokens_out, row.attempts) == (Outcome.DONE, 4, 2)
    assert row.event_id.hex == orphan.origin.facts["row"]
    assert made.bench.decision.attempts[0].outcome == "reset"
    assert row.ttft_ms == pytest.approx(1500)


async def test_the_log_is_told_who_goes_on(open_bench: OpenBench) -> None:
    async with studio(open_bench, REST) as made:
        orphan = await orphaned(made)
        assert orphan.begun is not None
        gone = replace(orphan.begun, upstream="gone")
        orphan.live.begin(gone)
        assert await takeover(made).take(replace(orphan, begun=gone))
        await made.end(orphan.live.id)
        await made.idle()
    begun = orphan.live.begun
    assert begun is not None
    assert (begun.upstream, begun.model, begun.facts) == ("u0", "m", gone.facts)


async def test_one_that_had_not_begun_is_made_from_the_start(open_bench: OpenBench) -> None:
    async with studio(open_bench, says(*SPOKEN)) as made:
        orphan = await orphaned(made, said=())
        assert await takeover(made).take(orphan)
        text, terminal = await read((await made.streams.open(orphan.live.id)).reader)
        await made.idle()
    assert (text, terminal.outcome, terminal.attempts) == ("ab", State.DONE, 1)


async def test_one_that_had_all_but_its_end_gets_that(open_bench: OpenBench) -> None:
    async with studio(open_bench, freeze) as made:
        orphan = await orphaned(made, said=(*SAID, chunk(finish="stop")))
        assert await takeover(made).take(orphan)
        text, terminal = await read((await made.streams.open(orphan.live.id)).reader)
        await made.idle()
    assert (text, terminal.outcome, terminal.finish_reason) == ("ab", State.DONE, "stop")
    assert made.bench.upstreams[0].seen == []
    assert the_row(made).tokens_out == 2
    assert the_row(made).upstream == "u0"


async def test_what_cannot_be_continued_is_truncated_in_words(open_bench: OpenBench) -> None:
    async with studio(open_bench, REST) as made:
        orphan = await orphaned(made, {"tools": [{"type": "function", "function": {"name": "f"}}]})
        assert await takeover(made).take(orphan)
        text, terminal = await read((await made.streams.open(orphan.live.id)).reader)
        await made.idle()
    assert (text, terminal.outcome) == ("ab", State.TRUNCATED)
    assert "it offers tools" in terminal.error["message"]
    row = the_row(made)
    assert (row.outcome, row.tokens_out, row.upstream, row.model) == (Outcome.TRUNCATED, 2, "u0", "m")
    assert row.cost_usd > 0


async def test_one_whose_beginning_is_gone_is_truncated(open_bench: OpenBench) -> None:
    async with studio(open_bench, REST) as made:
        orphan = await orphaned(made, first=100)
        assert await takeover(made).take(orphan)
        _, terminal = await read((await made.streams.open(orphan.live.id)).reader)
        await made.idle()
    assert terminal.outcome is State.TRUNCATED


@pytest.mark.parametrize(("kept", "text"), [(0, ""), (1, "a")])
async def test_nothing_is_made_behind_a_log_that_is_not_whole(open_bench: OpenBench, kept: int, text: str) -> None:
    async with studio(open_bench, REST) as made:
        whole = await orphaned(made)
        orphan = replace(whole, events=whole.events[:kept], hopeless=True)
        assert await takeover(made).take(orphan)
        _, terminal = await read((await made.streams.open(orphan.live.id)).reader)
        await made.idle()
    assert made.bench.upstreams[0].seen == []
    assert terminal.outcome is State.TRUNCATED
    assert "its log has not all of it" in terminal.error["message"]
    row = the_row(made)
    assert (row.outcome, row.tokens_out, row.upstream, row.model) == (Outcome.TRUNCATED, len(text), "u0", "m")
    assert row.cost_usd > 0


@pytest.mark.parametrize("lacking", ["seat", "accounts", "room"])
async def test_one_that_is_only_to_be_ended_is_paid_for_whatever_is_lacking(
    open_bench: OpenBench, lacking: str
) -> None:
    accounts = Accounts()
    if lacking == "accounts":
        accounts.refused = RequestError(Code.ACCOUNTS_UNAVAILABLE, "not yet")
    async with studio(open_bench, REST, tasks=1, queue_timeout_s=0.05) as made:
        orphan = replace(await orphaned(made), hopeless=True)
        if lacking == "room":
            made.bench.ledger.full = RequestError(Code.OVERLOADED, "no room")
        async with made.budget.admit() if lacking == "seat" else nullcontext():
            assert await takeover(made, accounts).take(orphan)
            text, terminal = await read((await made.streams.open(orphan.live.id)).reader)
        await made.idle()
    assert (text, terminal.outcome, terminal.usage["completion_tokens"]) == ("ab", State.TRUNCATED, 2)
    assert made.bench.upstreams[0].seen == []
    row = the_row(made)
    assert (row.outcome, row.tokens_out, row.user_id, row.tier) == (Outcome.TRUNCATED, 2, PRINCIPAL.user_id, "free")
    assert row.cost_usd > 0


async def test_what_was_let_in_once_is_charged_although_another_has_its_room(open_bench: OpenBench) -> None:
    limits = entitlement(concurrent=1, tokens_per_day=1000, spend_when_away=True)
    accounts = Accounts()
    accounts.entitlement = limits
    async with studio(open_bench, freeze, REST) as made:
        made.bench.in_order(freeze, REST)
        again = made.call(principal=with_other(PRINCIPAL, entitlement=limits))
        async with made.production.start(again, policy=FINISH) as retry:
            await retry.admitted()
            while not any(one.arrived.is_set() for one in made.bench.upstreams):
                await asyncio.sleep(0.005)
            orphan = await orphaned(made)
            assert await takeover(made, accounts).take(orphan)
            await made.end(orphan.live.id)
            (row,) = made.bench.ledger.rows
            (left,) = [one for one in (await made.bench.pipeline.look(again)).standings if one.name == "tokens_per_day"]
            await made.streams.stop(retry.id)
        await made.idle()
    assert row.outcome is Outcome.DONE
    assert left.remaining <= 1000 - row.tokens_in - row.tokens_out


@pytest.mark.parametrize("code", [Code.INVALID_API_KEY, Code.SUSPENDED])
async def test_whose_key_was_revoked_gets_no_more_and_pays_for_what_there_is(open_bench: OpenBench, code: Code) -> None:
    accounts = Accounts()
    accounts.refused = RequestError(code, "no more")
    async with studio(open_bench, REST) as made:
        orphan = await orphaned(made)
        assert await takeover(made, accounts).take(orphan)
        text, terminal = await read((await made.streams.open(orphan.live.id)).reader)
        await made.idle()
    assert (text, terminal.error["code"]) == ("ab", code.text)
    assert made.bench.upstreams[0].seen == []
    row = the_row(made)
    assert (row.tokens_out, row.user_id, row.tier) == (2, PRINCIPAL.user_id, "free")


async def test_it_waits_for_the_accounts(open_bench: OpenBench) -> None:
    accounts = Accounts()
    accounts.refused = RequestError(Code.ACCOUNTS_UNAVAILABLE, "not yet")
    async with studio(open_bench, REST) as made:
        orphan = await orphaned(made)
        assert not await takeover(made, accounts).take(orphan)
        assert made.budget.snapshot()["tasks"] == 0
        accounts.refused = None
        assert await takeover(made, accounts).take(orphan)
        await made.idle()
    assert the_row(made).outcome is Outcome.DONE


async def test_without_a_seat_it_is_not_taken(open_bench: OpenBench) -> None:
    async with studio(open_bench, REST, tasks=1, queue_timeout_s=0.05) as made:
        orphan = await orphaned(made)
        async with made.budget.admit():
            assert not await takeover(made).take(orphan)
        orphan.live.discard()


async def test_its_time_goes_on_running(open_bench: OpenBench) -> None:
    async with studio(open_bench, REST, total_s=0.5) as made:
        orphan = await orphaned(made)
        await asyncio.sleep(0.6)
        assert await takeover(made).take(orphan)
        _, terminal = await read((await made.streams.open(orphan.live.id)).reader)
        await made.idle()
    assert terminal.outcome is State.TRUNCATED
    assert terminal.error["code"] == "deadline_exceeded"


async def test_one_that_was_to_stop_stops(open_bench: OpenBench) -> None:
    async with studio(open_bench, REST) as made:
        orphan = await orphaned(made, {"max_tokens": 10})
        orphan.live.stop.set()
        assert await takeover(made).take(orphan)
        _, terminal = await read((await made.streams.open(orphan.live.id)).reader)
        await made.idle()
    assert (terminal.outcome, terminal.tokens_saved) == (State.CANCELLED, 8)
    assert the_row(made).tokens_out == 2


async def test_a_client_that_asked_for_usage_gets_that_of_all(open_bench: OpenBench) -> None:
    async with studio(open_bench, REST) as made:
        orphan = await orphaned(made, {"stream_options": {"include_usage": True}})
        assert await takeover(made).take(orphan)
        payloads: list[Any] = []
        async for batch in (await made.streams.open(orphan.live.id)).reader:
            payloads += [json.loads(one) for one in batch.payloads]
        await made.idle()
    usages = [one["usage"] for one in payloads if one.get("usage")]
    assert [one["completion_tokens"] for one in usages] == [4]


async def test_a_taker_that_is_taken_from_writes_and_charges_nothing(open_bench: OpenBench) -> None:
    async with studio(open_bench, freeze) as made:
        orphan = await orphaned(made)
        assert await takeover(made).take(orphan)
        await made.bench.upstreams[0].arrived.wait()
        orphan.live.depose()
        await made.idle()
        assert orphan.live.terminal is None
    assert made.bench.ledger.rows == []


async def test_engines_that_cannot_go_on_are_not_asked(open_bench: OpenBench) -> None:
    async with studio(open_bench, replies(500), engine=Engine.OPENAI) as made:
        orphan = await orphaned(made)
        assert await takeover(made).take(orphan)
        _, terminal = await read((await made.streams.open(orphan.live.id)).reader)
        await made.idle()
    assert terminal.outcome is State.TRUNCATED
