"""A whole server that freezes, dies, comes back or slows down, at run time."""

import asyncio
import gc
import json
import time
from contextlib import suppress

import aiohttp
import msgspec
import pytest

from citadel_edge.simulator.conduct import State, read_state
from citadel_edge.simulator.faults import Fault, FaultBook, FaultKind
from citadel_edge.simulator.options import SimulatorOptions
from citadel_edge.simulator.server import running
from citadel_edge.simulator.timing import Timing

STEADY = Timing(decode_ms=10)
STILL_S = 0.15  # long against a token, short against a test


async def test_a_frozen_server_accepts_and_answers_nothing_not_even_its_probe(simulated):
    async with simulated(engine="vllm") as client, asyncio.TaskGroup() as group:
        client.sim.freeze()
        asked = [group.create_task(client.get(path)) for path in ("/health", "/metrics", "/v1/models")]
        asked.append(group.create_task(client.post(client.body())))
        done, _ = await asyncio.wait(asked, timeout=STILL_S)
        assert not done
        client.sim.thaw()
        assert [(await task)[0] for task in asked] == [200] * 4


@pytest.mark.parametrize("engine", ["vllm", "llamacpp", "tgi"])
async def test_a_running_stream_stops_in_mid_token_and_goes_on_after_the_thaw(simulated, engine):
    async with simulated(engine=engine, timing=STEADY) as client:
        whole = await client.stream(client.body())
        got = b""
        async with client.open(client.body(stream=True)) as answer:
            while got.count(b"data:") < 6:
                got += await answer.content.readany()
            client.sim.freeze()
            with pytest.raises(TimeoutError):  # noqa: PT012 - what is read before the silence counts
                while True:
                    got += await asyncio.wait_for(answer.content.readany(), STILL_S)
            assert not got.endswith(b"\n\n"), "half an event is out"
            client.sim.thaw()
            got += await answer.content.read()
    deltas = [json.loads(line[6:]) for line in got.decode().split("\n\n") if line.startswith("data: {")]
    said = [choice["delta"].get("content") for delta in deltas for choice in delta["choices"]]
    assert "".join(filter(None, said)) == whole.text


async def test_a_whole_answer_waits_for_the_thaw(simulated):
    async with simulated(engine="vllm", timing=STEADY) as client, asyncio.TaskGroup() as group:
        task = group.create_task(client.post(client.body()))
        await client.sim.until(lambda stats: stats.generated >= 3)
        client.sim.freeze()
        before = client.sim.stats.generated
        done, _ = await asyncio.wait([task], timeout=STILL_S)
        assert not done
        assert client.sim.stats.generated <= before + 1
        client.sim.thaw()
        assert (await task)[0] == 200


async def test_a_client_may_leave_a_frozen_server(simulated):
    async with simulated(engine="vllm", timing=STEADY) as client, asyncio.TaskGroup() as group:
        task = group.create_task(client.stream(client.body()))
        await client.sim.until(lambda stats: stats.generated >= 3)
        client.sim.freeze()
        task.cancel()
        await client.sim.until(lambda stats: stats.cancelled == 1)
        assert client.sim.serving.slots.running == 0


async def test_a_killed_server_refuses_and_comes_back_on_its_port_with_an_empty_cache(simulated):
    async with simulated(engine="vllm") as client:
        body = client.body("word " * 60, max_tokens=1)
        await client.post(body)
        await client.sim.kill()
        await client.sim.kill()
        assert client.sim.state.alive is False
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.get("/health")
        await client.sim.restart()
        await client.sim.restart()
        assert client.sim.state.alive is True
        _, answer = await client.post(body)
        assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


async def test_a_kill_in_the_middle_resets_running_streams_and_a_restart_thaws(simulated):
    async with simulated(engine="vllm", timing=STEADY) as client, asyncio.TaskGroup() as group:

        async def broken():
            with pytest.raises(aiohttp.ClientError):
                await client.stream(client.body())

        task = group.create_task(broken())
        await client.sim.until(lambda stats: stats.generated >= 3)
        client.sim.freeze()
        await client.sim.kill()
        await task
        await client.sim.restart()
        assert client.sim.state.frozen is False
        assert (await client.stream(client.body())).ended


async def test_who_knocks_while_it_dies_leaves_no_socket_behind():
    async def knock(host, port):
        with suppress(OSError):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
            await writer.wait_closed()

    async with running(SimulatorOptions()) as sim:
        host, port = sim.url.removeprefix("http://").split(":")
        for turns in range(60):
            async with asyncio.TaskGroup() as group:
                for _ in range(3):
                    group.create_task(knock(host, int(port)))
                for _ in range(turns % 7):
                    await asyncio.sleep(0)
                await sim.kill()
                await sim.restart()
    gc.collect()  # a socket that was left would warn now, and a warning is an error


async def test_slowness_counts_from_the_next_token_on_and_can_be_taken_back(simulated):
    async with simulated(engine="vllm", timing=Timing(first_token_ms=5, decode_ms=5)) as client:

        async def took_s():
            began = time.monotonic()
            await client.post(client.body(max_tokens=10))
            return time.monotonic() - began

        quick = min([await took_s() for _ in range(3)])
        client.sim.slow(10)
        assert await took_s() >= 0.5 > quick
        client.sim.slow(1)
        assert min([await took_s() for _ in range(3)]) < 0.5


async def test_state_by_the_control_port(simulated):
    async with simulated(engine="vllm", control_port=0) as client:
        url = client.sim.control_url + "/control/state"

        async def put(state):
            async with client.session.put(url, json=state) as answer:
                return answer.status, await answer.json()

        assert await put({"frozen": True, "slowness": 3}) == (200, {"alive": True, "frozen": True, "slowness": 3})
        assert await put({"alive": False}) == (200, {"alive": False, "frozen": True, "slowness": 3})
        assert await put({"alive": True}) == (200, {"alive": True, "frozen": False, "slowness": 3})
        for wrong in ({"slowness": 0}, {"dead": True}, 5):
            assert (await put(wrong))[0] == 400
        async with client.session.get(url) as answer:
            assert await answer.json() == {"alive": True, "frozen": False, "slowness": 3}
        assert (await client.get("/health"))[0] == 200


async def test_who_has_no_control_port_is_not_killed_by_it(simulated):
    async with simulated(engine="vllm") as client:
        url = client.sim.url + "/control/state"
        async with client.session.put(url, json={"alive": False}) as answer:
            assert answer.status == 400
        client.sim.freeze()
        async with client.session.put(url, json={"frozen": False}) as answer:
            assert answer.status == 200, "a frozen server can be thawed on its own port"


def test_a_state_is_read_from_a_flag():
    assert read_state("frozen=true,slowness=2.5") == State(frozen=True, slowness=2.5)
    assert read_state("alive=false") == State(alive=False)
    for wrong in ("frozen", "frozen=perhaps", "slowness=0", "warm=true"):
        with pytest.raises(ValueError, match="no state"):
            read_state(wrong)


async def test_servers_that_share_a_book_share_its_counts():
    book = FaultBook(seed=0)
    async with (
        running(SimulatorOptions(), faults=book) as one,
        running(SimulatorOptions(), faults=book) as other,
        aiohttp.ClientSession() as session,
    ):
        book.add(Fault(kind=FaultKind.FAILED, times=1))
        body = {"messages": [{"role": "user", "content": "hi"}]}
        statuses = []
        for sim in (one, other, one):
            async with session.post(sim.url + "/v1/chat/completions", json=body) as answer:
                statuses.append(answer.status)
        assert statuses == [500, 200, 200]


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
async def test_several_tokens_share_a_chunk_and_usage_stays_exact(simulated, engine):
    options = {"include_usage": True, "continuous_usage_stats": True}
    async with simulated(engine=engine) as plain:
        expected = await plain.stream(plain.body())
    async with simulated(engine=engine, chunk_tokens=4) as client:
        got = await client.stream(client.body(stream_options=options))
    count = len(expected.pieces)
    assert got.text == expected.text
    assert len(got.pieces) == -(-count // 4)
    assert got.pieces[0] == "".join(expected.pieces[:4])
    along = [usage.completion_tokens for usage in got.usages if usage][1:-1]
    assert along[: len(got.pieces)] == [*range(4, count, 4), count]
    assert got.usages[-1].completion_tokens == count


async def test_a_fault_strikes_between_the_tokens_of_a_chunk_too(simulated):
    async with simulated(engine="vllm") as plain:
        expected = await plain.stream(plain.body())
    async with simulated(engine="vllm", chunk_tokens=4) as client:
        await client.sim.fault("end_early", after_tokens=6)
        got = await client.stream(client.body())
        (record,) = client.sim.stats.records
    assert got.pieces == ["".join(expected.pieces[:4]), "".join(expected.pieces[4:6])]
    assert (record.generated, record.sent) == (6, 6)


async def test_an_old_vllm_has_another_gauge_of_its_memory(simulated):
    for old, name in ((True, b"vllm:gpu_cache_usage_perc{"), (False, b"vllm:kv_cache_usage_perc{")):
        async with simulated(engine="vllm", old_gauges=old) as client:
            text = (await client.get("/metrics"))[1]
            assert (name in text, text.count(b"cache_usage_perc{")) == (True, 1)


@pytest.mark.parametrize(
    ("engine", "path", "slots", "context"),
    [
        ("llamacpp", "/props", ("total_slots",), ("default_generation_settings", "n_ctx")),
        ("sglang", "/get_server_info", ("max_running_requests",), ("context_length",)),
        ("sglang", "/server_info", ("max_running_requests",), ("context_length",)),
        ("tgi", "/info", None, ("max_total_tokens",)),
        ("ollama", "/api/ps", None, ("models", 0, "context_length")),
        ("vllm", "/v1/models", None, ("data", 0, "max_model_len")),
    ],
)
async def test_each_engine_tells_its_size_its_own_way(simulated, engine, path, slots, context):
    async with simulated(engine=engine, slots=3, context_tokens=777) as client:
        told = msgspec.json.decode((await client.get(path))[1])
    assert _at(told, context) == 777
    assert slots is None or _at(told, slots) == 3


def _at(value, path):
    for step in path:
        value = value[step]
    return value
