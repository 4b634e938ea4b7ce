"""A replica that is silent for longer than most calls take: another is asked, the first of both counts, once."""

import asyncio

import pytest

from citadel_edge.config.shape import HedgeConfig, RoutingConfig
from citadel_edge.simulator.faults import Fault, FaultBook, FaultKind, Match
from citadel_edge.simulator.options import SimulatorOptions
from citadel_edge.simulator.timing import Timing
from conversations import ask, decision, idle, said, stream

LENGTH = 10
STALL_S = 20.0
USUAL = Timing(first_token_ms=20, decode_ms=2)
WARM_UP = 40


def routing(**hedge):
    return {"routing": RoutingConfig(probe_interval_s=0.1, hedge=HedgeConfig(**hedge))}


@pytest.fixture
def fleet(edge_with):
    """`async with fleet(share=…) as (served, book)`: two replicas of one voice that share a book of faults."""

    class Fleet:
        def __init__(self, *, replicas=2, **hedge):
            self.book = FaultBook(seed=0)
            options = SimulatorOptions(seed=3, voice="one", shortest=LENGTH, longest=LENGTH, timing=USUAL)
            self.context = edge_with(options=(options,) * replicas, faults=self.book, changes=routing(**hedge))

        async def __aenter__(self):
            return await self.context.__aenter__(), self.book

        async def __aexit__(self, *error):
            self.book.clear()
            return await self.context.__aexit__(*error)

    return Fleet


async def warm_up(served, *, streamed, times=WARM_UP):
    async def some(count):
        for _ in range(count):
            if streamed:
                await stream(served, served.chat())
            else:
                assert (await ask(served, served.chat()))[0] == 200

    async with asyncio.TaskGroup() as group:
        for client in range(4):
            group.create_task(some(times // 4 + (client < times % 4)))


def calls(served):
    return sum(len(sim.stats.records) for sim in served.simulators)


def stall(**fields):
    return Fault(kind=FaultKind.SLOW_START, delay_s=STALL_S, **fields)


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_other_replica_answers_fast_and_the_loser_is_cancelled_at_its_engine(fleet, streamed):
    async with fleet(enabled=True, share=0.5) as (served, book):
        await warm_up(served, streamed=streamed)
        expected = said((await ask(served, served.chat()))[1])
        known = len(await served.rows())
        book.add(stall(times=1))
        loop = asyncio.get_running_loop()
        began = loop.time()
        if streamed:
            heard = await stream(served, served.chat())
            assert (heard.whole, heard.text) == (True, expected)
            headers = heard.headers
        else:
            status, answer, headers = await ask(served, served.chat())
            assert (status, said(answer)) == (200, expected)
        assert loop.time() - began < STALL_S / 4
        (stalled,) = [sim for sim in served.simulators if any(record.fault for record in sim.stats.records)]
        await stalled.until(lambda stats: not stats.active, timeout_s=5)
        (loser,) = [record for record in stalled.stats.records if record.fault]
        assert (loser.outcome.value, loser.generated) == ("cancelled", 0)
        (row,) = (await served.rows())[known:]
        assert (row["outcome"], row["tokens_out"], row["attempts"]) == ("done", LENGTH, 2)
        first_row = (await served.rows())[0]
        assert row["cost_usd"] == first_row["cost_usd"], "charged once"
        told = (await decision(served, headers))["attempts"]
        assert {attempt["upstream"] for attempt in told} == {"sim-0", "sim-1"}
        assert "hedge" in {attempt["mark"] for attempt in told}
        winner = next(attempt for attempt in told if attempt["outcome"] == "done")
        assert served.replica(winner["upstream"]) is not stalled
        await idle(served)


async def test_no_replica_is_blamed_for_losing(fleet):
    async with fleet(enabled=True, share=0.5) as (served, book):
        await warm_up(served, streamed=False)
        for _ in range(6):
            book.add(stall(times=1))
            assert (await ask(served, served.chat()))[0] == 200
            book.clear()
        for name in ("sim-0", "sim-1"):
            async with served.client.get(served.url("/v1/breakers"), headers=served.as_admin()) as answer:
                states = {row["id"]: row["state"] for row in (await answer.json())["data"]}
            assert states[name] == "closed"


async def test_hedges_are_at_most_their_share_of_all_requests(fleet):
    async with fleet(enabled=True, share=0.05) as (served, book):
        await warm_up(served, streamed=False)
        book.add(Fault(kind=FaultKind.SLOW_START, delay_s=0.8, probability=0.5))
        requests = 100

        async def some():
            for _ in range(requests // 10):
                assert (await ask(served, served.chat()))[0] == 200

        async with asyncio.TaskGroup() as group:
            for _ in range(10):
                group.create_task(some())
        hedges = calls(served) - WARM_UP - requests
        assert 1 <= hedges <= 0.05 * (WARM_UP + requests) + 1
        rows = await served.rows("SELECT outcome, tokens_out FROM usage_events")
        assert len(rows) == WARM_UP + requests
        assert {(row["outcome"], row["tokens_out"]) for row in rows} == {("done", LENGTH)}
        await idle(served)


async def test_off_it_makes_no_second_call(fleet):
    async with fleet(enabled=False) as (served, book):
        await warm_up(served, streamed=False, times=25)
        book.add(Fault(kind=FaultKind.SLOW_START, delay_s=0.5, times=1))
        assert (await ask(served, served.chat()))[0] == 200
        assert calls(served) == 26


async def test_with_one_replica_there_is_nobody_to_ask(fleet):
    async with fleet(replicas=1, enabled=True, share=1.0) as (served, book):
        await warm_up(served, streamed=False)
        book.add(Fault(kind=FaultKind.SLOW_START, delay_s=0.5, times=1))
        assert (await ask(served, served.chat()))[0] == 200
        assert calls(served) == WARM_UP + 1


async def test_when_both_stall_the_first_to_speak_wins(fleet):
    async with fleet(enabled=True, share=0.5) as (served, book):
        await warm_up(served, streamed=False)
        book.add(Fault(kind=FaultKind.SLOW_START, delay_s=1.0, times=2))
        status, _, headers = await ask(served, served.chat())
        assert status == 200
        told = (await decision(served, headers))["attempts"]
        assert sorted(attempt["outcome"] for attempt in told) == ["cancelled", "done"]
        await idle(served)


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_client_that_leaves_leaves_both(fleet, streamed):
    async with fleet(enabled=True, share=0.5) as (served, book):
        await warm_up(served, streamed=streamed)
        book.add(stall(times=2))
        before = calls(served)
        task = asyncio.get_running_loop().create_task(ask(served, served.chat(stream=streamed)))
        async with asyncio.timeout(10):
            while calls(served) < before + 2:
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        for sim in served.simulators:
            await sim.until(lambda stats: not stats.active, timeout_s=5)
        await idle(served)
        row = (await served.rows())[-1]
        assert (row["outcome"], row["attempts"], row["tokens_out"]) == ("cancelled", 2, 0)


async def test_a_hedge_that_fails_leaves_the_first_its_chance(fleet):
    async with fleet(enabled=True, share=0.5) as (served, book):
        await warm_up(served, streamed=False)
        body = served.chat(user="the slow one")
        book.add(Fault(kind=FaultKind.SLOW_START, delay_s=1.0, times=1, match=Match(contains="the slow one")))
        book.add(Fault(kind=FaultKind.FAILED, times=1, match=Match(contains="the slow one")))
        status, answer, _ = await ask(served, body)
        assert (status, bool(said(answer))) == (200, True)
        row = (await served.rows())[-1]
        assert (row["outcome"], row["tokens_out"]) == ("done", LENGTH)
        assert row["attempts"] > 1
        await idle(served)
