"""What faults look like to a client, over real sockets."""

import asyncio
import socket
import struct

import aiohttp
import msgspec
import pytest

from citadel_edge.simulator.faults import Fault, FaultKind
from citadel_edge.simulator.wounds import tear


async def raw_answer(sim, body):
    """Everything up to the end of the connection: parts as they came, and how it ended."""
    host, port = sim.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    payload = msgspec.json.encode(body)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(payload)}\r\n\r\n"
    writer.write(head.encode() + payload)
    parts, end = [], "fin"
    try:
        while part := await reader.read(65536):
            parts.append(part)
            if b"0\r\n\r\n" in part or (b"Content-Length" in parts[0] and not body.get("stream")):
                end = "whole"
                break
    except ConnectionResetError:
        end = "rst"
    writer.close()
    return parts, end


@pytest.mark.parametrize(
    ("kind", "status", "retry"), [("429", 429, 3), ("503", 503, 0.5), ("500", 500, None), ("424", 424, None)]
)
@pytest.mark.parametrize("engine", ["vllm", "llamacpp", "tgi", "openai"])
async def test_statuses_come_in_the_engines_shape_with_retry_after(simulated, engine, kind, status, retry):
    async with simulated(engine=engine) as client:
        await client.sim.fault(kind, retry_after_s=retry, times=1)
        async with client.open(client.body(stream=True)) as answer:
            assert answer.status == status
            assert answer.headers.get("Retry-After") == (None if retry is None else f"{retry:g}")
            assert "error" in await answer.text()
        assert (await client.post(client.body()))[0] == 200
        assert client.sim.stats.totals()["fault"] == 1


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("engine", ["vllm", "ollama"])
async def test_reset_is_a_real_reset_in_mid_stream(simulated, engine, stream):
    async with simulated(engine=engine) as client:
        await client.sim.fault("reset", after_tokens=4)
        parts, end = await raw_answer(client.sim, client.body(stream=stream))
        assert end == "rst"
        assert b"".join(parts).count(b'"content":"') <= (5 if stream else 0)
        await client.sim.until(lambda stats: stats.totals()["fault"] == 1)
        (record,) = client.sim.stats.records
        assert (record.generated, record.outcome.value, record.fault) == (4, "fault", "reset")


async def test_cut_closes_cleanly_without_the_end_of_the_body(simulated):
    async with simulated(engine="vllm") as client:
        await client.sim.fault("cut", after_tokens=4)
        parts, end = await raw_answer(client.sim, client.body(stream=True))
        assert (end, b"".join(parts).count(b'"content":"'), b"[DONE]" in b"".join(parts)) == ("fin", 5, False)
        async with client.open(client.body()) as answer:
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()


async def test_end_early_ends_the_body_without_a_terminal_event(simulated):
    async with simulated(engine="vllm") as client:
        await client.sim.fault("end_early", after_tokens=2)
        streamed = await client.stream(client.body())
    assert (len(streamed.pieces), streamed.ended, streamed.finish) == (2, False, None)


async def test_error_event_reports_the_failure_in_the_stream(simulated):
    async with simulated(engine="vllm") as client:
        await client.sim.fault("error_event", after_tokens=2)
        streamed = await client.stream(client.body())
        assert streamed.chunks[-1].error["code"] == 500
        assert (len(streamed.pieces), streamed.finish) == (2, None)
        assert (await client.post(client.body()))[0] == 500


@pytest.mark.parametrize("duration_s", [0.3, None])
async def test_stall_falls_silent_until_its_time_is_over_or_it_is_lifted(simulated, duration_s):
    async with simulated(engine="vllm") as client, asyncio.TaskGroup() as group:
        fault_id = await client.sim.fault("stall", after_tokens=5, duration_s=duration_s)
        task = group.create_task(client.stream(client.body()))
        await client.sim.until(lambda stats: stats.generated == 5)
        await asyncio.sleep(0.1)
        assert client.sim.stats.generated == 5
        if duration_s is None:
            await client.sim.lift(fault_id)
        streamed = await task
        assert (streamed.ended, streamed.finish) == (True, "stop")


async def test_a_stalled_request_that_is_left_is_cancelled(simulated):
    async with simulated(engine="vllm") as client, asyncio.TaskGroup() as group:
        await client.sim.fault("stall", after_tokens=0)
        task = group.create_task(client.stream(client.body()))
        await client.sim.until(lambda stats: len(stats.active) == 1)
        task.cancel()
        await client.sim.until(lambda stats: stats.cancelled == 1)


async def test_slow_first_token_delays_the_first_token_alone(simulated):
    async with simulated(engine="vllm") as client:
        await client.sim.fault("slow_first_token", delay_s=0.3)
        assert (await client.stream(client.body())).ended
        (record,) = client.sim.stats.records
    assert record.first_token_at - record.arrived_at >= 0.3


async def test_garbage_is_neither_sse_nor_json(simulated):
    async with simulated(engine="vllm") as client:
        await client.sim.fault("garbage")
        async with client.open(client.body(stream=True)) as answer:
            assert (answer.status, answer.content_type) == (200, "text/html")


async def test_bad_json_and_invalid_utf8_are_one_broken_event_amid_good_ones(simulated):
    async with simulated(engine="vllm") as client:
        for kind, broken in (("bad_json", b'"con\n\n'), ("invalid_utf8", b"\xc3\x28")):
            await client.sim.lift()
            await client.sim.fault(kind, after_tokens=2)
            async with client.open(client.body(stream=True)) as answer:
                body = await answer.read()
            assert body.count(broken) == 1
            assert body.endswith(b"data: [DONE]\n\n")
            async with client.open(client.body()) as answer:
                with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
                    msgspec.json.decode((await answer.read()).decode())


async def test_torn_utf8_is_legal_and_cuts_every_character_of_several_bytes(simulated):
    async with simulated(engine="vllm", seed=2, longest=40) as client:
        whole = await client.stream(client.body())
        await client.sim.fault("torn_utf8")
        parts, _ = await raw_answer(client.sim, client.body(stream=True))
        assert (await client.stream(client.body())).text == whole.text
        assert await client.text() == whole.text
    assert not whole.text.isascii()
    torn = [part for part in parts if not is_utf8(part)]
    assert torn


def is_utf8(data):
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_tear_cuts_inside_every_character_of_several_bytes():
    frame = "a\u00e9\u4e2d\U0001f680z".encode()
    parts = tear(frame)
    assert b"".join(parts) == frame
    assert len(parts) == 1 + 1 + 2 + 3
    assert tear(b"plain") == [b"plain"]


async def test_refuse_resets_every_route_before_an_answer(simulated):
    async with simulated(engine="vllm") as client:
        await client.sim.fault("refuse", times=3)  # aiohttp's client tries a GET twice
        assert await raw_answer(client.sim, client.body()) == ([], "rst")
        with pytest.raises(aiohttp.ClientError):
            await client.get("/health")
        assert (await client.get("/health"))[0] == 200


async def test_freeze_answers_nothing_at_all_until_it_is_lifted(simulated):
    async with simulated(engine="vllm") as client, asyncio.TaskGroup() as group:
        await client.sim.fault("freeze")
        tasks = [group.create_task(client.get("/health")), group.create_task(client.post(client.body()))]
        done, _ = await asyncio.wait(tasks, timeout=0.3)
        assert not done
        assert (await client.get("/control/stats"))[0] == 200
        await client.sim.lift()
        assert [(await task)[0] for task in tasks] == [200, 200]


async def test_unreachable_refuses_connections_resets_open_ones_and_comes_back_on_the_same_port(simulated):
    async with simulated(engine="vllm", control_port=0) as client, asyncio.TaskGroup() as group:
        await client.sim.fault("stall", after_tokens=2)
        task = group.create_task(raw_answer(client.sim, client.body(stream=True)))
        await client.sim.until(lambda stats: stats.generated == 2)
        fault_id = await client.sim.fault("unreachable")
        assert (await task)[1] == "rst"
        host, port = client.sim.url.removeprefix("http://").split(":")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(host, int(port))
        async with client.session.get(client.sim.control_url + "/control/stats") as answer:
            assert answer.status == 200
        await client.sim.lift(fault_id)
        assert (await client.get("/health"))[0] == 200


async def test_unreachable_in_mid_stream_is_a_process_that_dies_and_is_restarted(simulated):
    async with simulated(engine="vllm") as client:
        await client.sim.fault("unreachable", after_tokens=3, duration_s=0.2, times=1)
        _, end = await raw_answer(client.sim, client.body(stream=True))
        assert end == "rst"
        for _ in range(200):
            try:
                assert (await client.get("/health"))[0] == 200
                break
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.02)
        else:
            pytest.fail("it never came back")
        assert (await client.stream(client.body())).ended


async def test_the_simulator_ends_in_the_middle_of_everything(simulated):
    async with simulated(engine="llamacpp") as client:
        await client.sim.put(Fault(kind=FaultKind.FREEZE))
        post = client.post(client.body(), headers={"X-Conversation-Id": "c"})
        waiting = asyncio.gather(client.get("/health"), client.get("/props"), post, return_exceptions=True)
        await client.sim.until(lambda stats: len(stats.active) == 1)
        await client.sim.stop()
        assert all(isinstance(end, aiohttp.ClientError) for end in await asyncio.wait_for(waiting, 5))


def test_linger_structure_is_that_of_the_kernel():
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == struct.pack("ii", 1, 0)
