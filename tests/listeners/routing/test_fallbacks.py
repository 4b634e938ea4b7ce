"""When a model cannot answer, another may: one that fits, that the user may use, and only when it helps."""

import asyncio

import pytest

from citadel_edge.config.shape import Capability, DeploymentConfig, ModelConfig, PriceConfig, RoutingConfig, TierConfig
from citadel_edge.simulator.options import SimulatorOptions
from conversations import ask, decision, said, stream

SHORT, LONG = 512, 4096
ROUTING = RoutingConfig(probe_interval_s=0.1, capacity_wait_s=0.5)


def model(name, upstream, **fields):
    return ModelConfig(
        name=name,
        deployments=(DeploymentConfig(upstream=upstream),),
        **{"context_tokens": LONG, "price": PriceConfig(input_per_mtok_usd=1.0, output_per_mtok_usd=2.0), **fields},
    )


def replica(name, **fields):
    return SimulatorOptions(**{"model": name, "context_tokens": LONG, "shortest": 10, "longest": 10, **fields})


@pytest.fixture
def three(edge_with):
    """`alpha` falls back to `small`, which holds little, and then to `beta`; a replica each."""

    def serve(*, tiers=(), context=SHORT, **alpha):
        models = (
            model("alpha", "sim-0", fallbacks=("small", "beta"), **alpha),
            model("small", "sim-1", context_tokens=context),
            model("beta", "sim-2", price=PriceConfig(input_per_mtok_usd=3.0, output_per_mtok_usd=5.0)),
        )
        options = (replica("alpha"), replica("small", context_tokens=context), replica("beta"))
        return edge_with(options=options, changes={"models": models, "routing": ROUTING, "tiers": tiers})

    return serve


def chat(words=20, **fields):
    return {"model": "alpha", "messages": [{"role": "user", "content": "word " * words}], **fields}


def seen(served):
    return [len(sim.stats.records) for sim in served.simulators]


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_dead_model_s_first_fallback_answers_and_is_named(three, streamed):
    async with three() as served:
        await served.simulators[0].kill()
        if streamed:
            heard = await stream(served, chat())
            assert heard.whole
            headers = heard.headers
        else:
            status, answer, headers = await ask(served, chat())
            assert (status, bool(said(answer))) == (200, True)
        assert (headers["X-Citadel-Model"], headers["X-Citadel-Upstream"]) == ("small", "sim-1")
        (row,) = await served.rows()
        assert (row["model"], row["upstream"], row["outcome"]) == ("small", "sim-1", "done")
        told = await decision(served, headers)
        assert (told["asked"], told["model"]) == ("alpha", "small")
        await served.simulators[0].restart()


async def test_a_fallback_with_too_small_a_context_is_skipped(three):
    async with three() as served:
        await served.simulators[0].kill()
        status, _, headers = await ask(served, chat(words=800))
        assert (status, headers["X-Citadel-Model"]) == (200, "beta")
        assert seen(served)[1] == 0, "it was not even asked"


async def test_max_tokens_count_to_the_context(three):
    async with three() as served:
        await served.simulators[0].kill()
        status, _, headers = await ask(served, chat(max_tokens=1000))
        assert (status, headers["X-Citadel-Model"]) == (200, "beta")
        assert seen(served)[1] == 0


async def test_the_price_is_the_answering_model_s(three):
    async with three() as served:
        await served.simulators[0].kill()
        await ask(served, chat(words=800))
        (row,) = await served.rows()
        assert float(row["cost_usd"]) == pytest.approx((row["tokens_in"] * 3 + row["tokens_out"] * 5) / 1e6)


async def test_a_prompt_that_an_engine_refuses_as_too_long_goes_to_one_that_holds_it(edge_with):
    """Alpha's engine was started with a smaller context than the catalogue says."""
    models = (model("alpha", "sim-0", fallbacks=("beta",)), model("beta", "sim-1"))
    options = (replica("alpha", context_tokens=200), replica("beta"))
    async with edge_with(options=options, changes={"models": models, "routing": ROUTING}) as served:
        status, _, headers = await ask(served, chat(words=600))
        assert (status, headers["X-Citadel-Model"]) == (200, "beta")


async def test_failing_replicas_fall_back_after_their_retries(three):
    async with three() as served:
        await served.simulators[0].fault("500")
        status, _, headers = await ask(served, chat())
        assert (status, headers["X-Citadel-Model"]) == (200, "small")
        told = await decision(served, headers)
        assert told["attempts"][0]["upstream"] == "sim-0"
        assert (told["attempts"][-1]["model"], told["attempts"][-1]["outcome"]) == ("small", "done")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"messages": "nonsense"}, 400),
        ({"messages": [{"role": "user", "content": "hi"}], "n": 3}, 400),
        ({"messages": [{"role": "user", "content": 5}]}, 400),
    ],
)
async def test_the_client_s_own_fault_is_told_and_nobody_else_is_asked(three, body, status):
    async with three() as served:
        answered, answer, _ = await ask(served, {"model": "alpha", **body})
        assert answered == status
        assert answer["error"]["message"]
        assert seen(served)[1:] == [0, 0]


async def test_a_prompt_that_fits_nowhere_is_too_long_and_not_sent(three):
    async with three() as served:
        status, answer, _ = await ask(served, chat(words=LONG * 5))
        assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")
        assert seen(served) == [0, 0, 0]


async def test_a_model_outside_the_tier_is_no_fallback(three):
    tier = TierConfig(name="narrow", models=("alpha", "beta"))
    async with three(tiers=(tier,)) as served:
        await served.simulators[0].kill()
        status, _, headers = await ask(served, chat())
        assert (status, headers["X-Citadel-Model"]) == (200, "beta")
        assert seen(served)[1] == 0


async def test_without_a_fallback_that_lives_the_reason_is_told(three):
    async with three() as served:
        for sim in served.simulators:
            await sim.kill()
        status, answer, headers = await asyncio.wait_for(ask(served, chat()), 30)
        assert status in (502, 503)
        assert answer["error"]["code"] in ("upstream_error", "no_capacity")
        assert status == 502 or "Retry-After" in headers
        for sim in served.simulators:
            await sim.restart()


async def test_what_the_fallback_lacks_it_is_not_asked_for(edge_with):
    models = (
        model("alpha", "sim-0", fallbacks=("plain", "able"), capabilities=(Capability.TOOLS,)),
        model("plain", "sim-1"),
        model("able", "sim-2", capabilities=(Capability.TOOLS,)),
    )
    options = (replica("alpha"), replica("plain"), replica("able"))
    tools = [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}]
    async with edge_with(options=options, changes={"models": models, "routing": ROUTING}) as served:
        await served.simulators[0].kill()
        status, _, headers = await ask(served, chat(tools=tools))
        assert (status, headers["X-Citadel-Model"]) == (200, "able")
        assert seen(served)[1] == 0
