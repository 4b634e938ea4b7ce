"""Every engine's dialect, and every way it can fail, over the simulator."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import pytest

from citadel_edge.accounts.ledger.event import Outcome
from citadel_edge.completions.request import Kind
from citadel_edge.config.shape import Engine
from citadel_edge.errors import Code, RequestError
from citadel_edge.fleet.breaker import BreakerState
from citadel_edge.simulator.options import Engine as SimulatedEngine
from citadel_edge.simulator.options import SimulatorOptions
from citadel_edge.simulator.server import Simulator, running
from citadel_edge.simulator.timing import Timing
from completions.bench import Address, Bench, Client, OpenBench

ENGINES = [engine.value for engine in Engine]


async def over(
    stack: AsyncExitStack, open_bench: OpenBench, *, engine: str = "vllm", count: int = 1, **options: Any
) -> tuple[Bench, list[Simulator]]:
    """A bench over simulators of one engine that would all say the same."""
    routing = {name: options.pop(name) for name in ("first_token_s", "idle_s", "retries") if name in options}
    sims = [
        await stack.enter_async_context(
            running(
                SimulatorOptions(
                    engine=SimulatedEngine(engine),
                    model=f"engine/s{n}",
                    voice="one",
                    api_key=f"secret-of-s{n}",
                    **options,
                )
            )
        )
        for n in range(count)
    ]
    addresses = [Address(f"s{n}", sim.url) for n, sim in enumerate(sims)]
    return await open_bench(*addresses, engine=Engine(engine), **routing), sims


def text_of(client: Client) -> str:
    chunks = [one for one in client.events if isinstance(one, dict) and one.get("choices")]
    return "".join(one["choices"][0]["delta"].get("content") or "" for one in chunks)


@pytest.mark.parametrize("engine", ENGINES)
async def test_chat_whole_and_streamed_say_and_cost_the_same(open_bench: OpenBench, engine: str) -> None:
    async with AsyncExitStack() as stack:
        bench, _ = await over(stack, open_bench, engine=engine)
        whole = json.loads((await bench.whole()).text)
        streamed = await bench.stream()
        assert text_of(streamed) == whole["choices"][0]["message"]["content"]
        assert streamed.events[-1] == "[DONE]"
        assert not any(one.get("choices") == [] for one in streamed.events[:-1])
        first, second = bench.ledger.rows
        assert (first.tokens_in, first.tokens_out) == (second.tokens_in, second.tokens_out)
        assert (first.tokens_in, first.tokens_out) == (
            whole["usage"]["prompt_tokens"],
            whole["usage"]["completion_tokens"],
        )
        assert first.tokens_out > 0


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_client_that_asks_for_usage_gets_the_engines(open_bench: OpenBench, engine: str) -> None:
    async with AsyncExitStack() as stack:
        bench, _ = await over(stack, open_bench, engine=engine)
        client = await bench.stream({"stream_options": {"include_usage": True}})
        usage = client.events[-2]["usage"]
        assert (usage["prompt_tokens"], usage["completion_tokens"]) == (bench.row.tokens_in, bench.row.tokens_out)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("stream", [False, True])
async def test_legacy_completions_work(open_bench: OpenBench, engine: str, *, stream: bool) -> None:
    async with AsyncExitStack() as stack:
        bench, _ = await over(stack, open_bench, engine=engine)
        client = await bench.whole({"model": "m", "prompt": "once", "stream": stream}, kind=Kind.COMPLETION)
        assert client.status == 200
        assert bench.row.outcome is Outcome.DONE
        assert bench.row.tokens_out > 0


@pytest.mark.parametrize("engine", ["vllm", "llamacpp", "ollama", "openai"])
async def test_embeddings_work(open_bench: OpenBench, engine: str) -> None:
    async with AsyncExitStack() as stack:
        bench, _ = await over(stack, open_bench, engine=engine)
        client = await bench.whole({"model": "m", "input": ["a", "b"]}, kind=Kind.EMBEDDINGS)
        assert len(json.loads(client.text)["data"]) == 2
        assert bench.row.tokens_in > 0
        assert bench.row.tokens_out == 0


@pytest.mark.parametrize("engine", ["vllm", "sglang", "llamacpp", "tgi", "openai"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_prompt_past_the_context_is_told_in_every_dialect(
    open_bench: OpenBench, engine: str, *, stream: bool
) -> None:
    async with AsyncExitStack() as stack:
        bench, _ = await over(stack, open_bench, engine=engine, context_tokens=128)
        body = {"messages": [{"role": "user", "content": "word " * 1000}], "stream": stream}
        with pytest.raises(RequestError) as caught:
            await bench.whole(body)
        assert caught.value.code is Code.CONTEXT_LENGTH_EXCEEDED
        assert bench.fleet.table.rows["s0"].breaker.failures == 0


@pytest.mark.parametrize("engine", ["vllm", "llamacpp", "tgi"])
@pytest.mark.parametrize("kind", ["refuse", "unreachable", "429", "500", "503", "garbage", "end_early", "error_event"])
async def test_a_failure_before_the_first_token_is_not_the_clients(
    open_bench: OpenBench, engine: str, kind: str
) -> None:
    async with AsyncExitStack() as stack:
        bench, (bad, _) = await over(stack, open_bench, engine=engine, count=2)
        await bad.fault(kind, **({"after_tokens": 0} if kind in {"end_early", "error_event"} else {}))
        client = await bench.stream()
        assert client.events[-1] == "[DONE]"
        assert client.headers["X-Citadel-Upstream"] == "s1"
        assert bench.row.outcome is Outcome.DONE


AMID = ["stall", "reset", "cut", "end_early", "error_event", "bad_json", "invalid_utf8"]


@pytest.mark.parametrize("engine", ["vllm", "llamacpp"])
@pytest.mark.parametrize("kind", AMID)
async def test_a_failure_in_mid_stream_is_told_and_what_was_said_is_charged(
    open_bench: OpenBench, engine: str, kind: str
) -> None:
    async with AsyncExitStack() as stack:
        timing = Timing(decode_ms=20)
        bench, (sim,) = await over(
            stack, open_bench, engine=engine, idle_s=0.5, timing=timing, shortest=10, longest=12, retries=0
        )
        whole = text_of(await bench.stream())
        bench.ledger.rows.clear()
        bench.reports.clear()
        await sim.fault(kind, after_tokens=5)
        client = await bench.stream()
        assert "error" in client.events[-1]
        assert client.finished == 1
        assert whole.startswith(text_of(client))
        assert text_of(client)
        row = bench.row
        assert row.outcome is (Outcome.ERROR if kind == "error_event" else Outcome.TRUNCATED)
        assert 1 <= row.tokens_out <= 5
        assert row.tokens_in > 0


async def test_torn_characters_arrive_whole(open_bench: OpenBench) -> None:
    async with AsyncExitStack() as stack:
        bench, (sim,) = await over(stack, open_bench, longest=60, shortest=50)
        whole = text_of(await bench.stream())
        await sim.fault("torn_utf8")
        assert text_of(await bench.stream()) == whole


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_frees_the_engine(open_bench: OpenBench, *, stream: bool) -> None:
    async with AsyncExitStack() as stack:
        bench, (sim,) = await over(stack, open_bench, timing=Timing(decode_ms=50), shortest=90)
        task = asyncio.get_running_loop().create_task(bench.whole({"stream": stream}))
        await sim.until(lambda stats: len(stats.active) == 1)
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await sim.until(lambda stats: not stats.active, timeout_s=0.5)
        assert bench.row.outcome is Outcome.CANCELLED


async def test_a_replica_that_dies_is_left_and_found_again(open_bench: OpenBench) -> None:
    async with AsyncExitStack() as stack:
        bench, (sim, _) = await over(stack, open_bench, count=2)
        await sim.fault("unreachable")
        for _ in range(10):
            assert (await bench.whole()).status == 200
        row = bench.fleet.table.rows["s0"]
        assert not row.healthy
        await sim.lift()
        bench.fleet.probe_succeeded(row, "ok")
        clients = await asyncio.gather(*(bench.whole() for _ in range(40)))
        used = {client.headers["X-Citadel-Upstream"] for client in clients}
        assert used == {"s0", "s1"}
        assert row.breaker.state is BreakerState.CLOSED
