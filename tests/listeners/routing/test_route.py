"""`POST /v1/route`: what would happen, and nothing that does."""

import pytest

from citadel_edge.completions.request import Kind
from citadel_edge.config.shape import (
    Capability,
    DeploymentConfig,
    ListenerName,
    ModelConfig,
    PriceConfig,
)
from citadel_edge.listeners.routing.route import kind_of
from citadel_edge.simulator.options import SimulatorOptions
from edges import MODEL

TWO = (SimulatorOptions(), SimulatorOptions())
ANSWER = {"decision", "model", "chosen", "candidates", "estimate", "features", "objective", "strategy", "models"}
ON_BOTH = (DeploymentConfig(upstream="sim-0", model=MODEL), DeploymentConfig(upstream="sim-1", model=MODEL))


async def explain(served, body=None, *, headers=None, status=200, **fields):
    async with served.client.post(
        served.url("/v1/route"),
        json=served.chat(**fields) if body is None else body,
        headers={**served.as_user(), **(headers or {})},
    ) as answer:
        assert answer.status == status, await answer.text()
        return await answer.json(content_type=None)


async def set_row(served, upstream, **body):
    async with served.client.patch(
        served.url(f"/v1/upstreams/{upstream}"), json=body, headers=served.as_admin()
    ) as answer:
        assert answer.status == 200


async def test_it_answers_with_candidates_parts_and_an_estimate(edge_with):
    async with edge_with(options=TWO) as served:
        answer = await explain(served, max_tokens=32)
        assert answer.keys() >= ANSWER
        assert (answer["model"], answer["chosen"] in ("sim-0", "sim-1")) == (MODEL, True)
        assert answer["decision"].startswith("dec_")
        for candidate in answer["candidates"]:
            assert candidate.keys() >= {"upstream", "model", "score", "parts", "excluded"}
            assert candidate["excluded"] is None
            assert all(isinstance(part, float | int) for part in candidate["parts"].values())
        estimate = answer["estimate"]
        assert estimate.keys() == {"tokens_in", "tokens_out", "cost_usd", "ttft_s", "total_s"}
        assert estimate["tokens_in"] > 0
        assert 0 < estimate["tokens_out"] <= 32
        expected_usd = (estimate["tokens_in"] * 1.0 + estimate["tokens_out"] * 2.0) / 1e6
        assert estimate["cost_usd"] == pytest.approx(expected_usd)


async def test_nothing_is_sent_counted_or_recorded(edge_with):
    async with edge_with(options=TWO) as served:
        for _ in range(5):
            await explain(served, stream=True)
        assert [simulator.stats.started for simulator in served.simulators] == [0, 0]
        assert await served.rows() == []
        rows = served.edge.fleet.table.rows.values()
        assert [(row.in_flight, row.reserved_tokens, row.turn) for row in rows] == [(0, 0, 0)] * 2
        assert len(served.edge.pipeline.decisions) == 0


async def test_it_says_what_the_next_request_does(edge_with):
    async with edge_with(options=TWO) as served:
        for _ in range(6):
            answer = await explain(served)
            async with served.client.post(
                served.url("/v1/chat/completions"), json=served.chat(), headers=served.as_user()
            ) as real:
                await real.read()
                assert real.headers["X-Citadel-Upstream"] == answer["chosen"]
                assert real.headers["X-Citadel-Model"] == answer["model"]


async def test_it_names_why_a_replica_is_out(edge_with):
    async with edge_with(options=TWO) as served:
        await set_row(served, "sim-0", state="draining")
        answer = await explain(served)
        assert answer["chosen"] == "sim-1"
        out = {each["upstream"]: each["excluded"] for each in answer["candidates"]}
        assert out["sim-1"] is None
        assert out["sim-0"]["code"] == "draining"
        assert out["sim-0"]["reason"]


async def test_when_nobody_can_take_it_the_answer_says_so_and_why(edge_with):
    async with edge_with(options=TWO) as served:
        await set_row(served, "sim-0", state="disabled")
        async with served.client.post(
            served.url("/v1/breakers/sim-1/trip"), json={"reason": "smoke"}, headers=served.as_admin()
        ) as answer:
            assert answer.status == 200
        answer = await explain(served)
        assert answer["chosen"] is None
        codes = {each["upstream"]: each["excluded"]["code"] for each in answer["candidates"]}
        assert codes == {"sim-0": "disabled", "sim-1": "breaker"}


async def test_the_other_two_kinds_of_bodies_are_explained_too(edge_with):
    embedder = ModelConfig(name="embedder", deployments=ON_BOTH[:1], capabilities=(Capability.EMBEDDINGS,))
    chatter = ModelConfig(name=MODEL, deployments=ON_BOTH[:1])
    async with edge_with(changes={"models": (chatter, embedder)}) as served:
        assert (await explain(served, {"model": MODEL, "prompt": "once"}))["chosen"] == "sim-0"
        assert (await explain(served, {"model": "embedder", "input": ["once"]}))["chosen"] == "sim-0"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"messages": []}', Kind.CHAT),
        (b'{"prompt": "x", "messages": []}', Kind.CHAT),
        (b'{"prompt": "x"}', Kind.COMPLETION),
        (b'{"input": "x"}', Kind.EMBEDDINGS),
        (b'{"model": "x"}', Kind.CHAT),
        (b"[" * 100_000, Kind.CHAT),
        (b"\xff", Kind.CHAT),
        (b"", Kind.CHAT),
    ],
)
def test_a_body_s_kind_is_told_by_its_fields(body, kind):
    assert kind_of(body) is kind


MISTAKES = (
    ({"model": MODEL}, 400, "invalid_request"),
    ({"model": MODEL, "messages": "hi"}, 400, "invalid_request"),
    ({"messages": [{"role": "user", "content": "hi"}]}, 400, "invalid_request"),
    ({"model": "nobody", "messages": [{"role": "user", "content": "hi"}]}, 404, "model_not_found"),
    ([], 400, "invalid_request"),
)


async def test_a_user_s_mistake_is_the_completion_s_own(edge_with):
    async with edge_with() as served:
        for body, status, code in MISTAKES:
            problem = await explain(served, body, status=status)
            assert (problem["code"], problem["status"]) == (code, status)
            url = served.url("/v1/chat/completions")
            async with served.client.post(url, json=body, headers=served.as_user()) as real:
                error = (await real.json())["error"]
                assert (real.status, error["code"], error["message"]) == (status, code, problem["detail"])


async def test_a_prompt_that_fits_no_candidate_is_too_long(edge_with):
    small = ModelConfig(name=MODEL, deployments=ON_BOTH[:1], context_tokens=64)
    async with edge_with(changes={"models": (small,)}) as served:
        long = [{"role": "user", "content": "word " * 4000}]
        problem = await explain(served, messages=long, status=400)
        assert problem["code"] == "context_length_exceeded"


async def test_a_model_outside_of_the_tier_is_403(edge_with):
    async with edge_with() as served:
        tiers = served.url("/v1/tiers/free", ListenerName.RATE_LIMITING)
        async with served.client.patch(tiers, json={"models": ["other"]}, headers=served.as_admin()) as answer:
            assert answer.status == 200
        assert (await explain(served, status=403))["code"] == "model_not_allowed"


async def test_auto_tells_which_models_were_considered_and_what_for(edge_with):
    models = (
        ModelConfig(name="strong", deployments=ON_BOTH, skills={"chat": 0.9, "code": 0.95}, price=_price(9)),
        ModelConfig(name="cheap", deployments=ON_BOTH, skills={"chat": 0.8, "code": 0.2}, price=_price(0.1)),
    )
    async with edge_with(options=TWO, changes={"models": models}) as served:
        for asked, objective, model in (
            ("auto:best", "quality", "strong"),
            ("auto:cheap", "cost", "cheap"),
        ):
            answer = await explain(served, model=asked)
            assert (answer["model"], answer["objective"]) == (model, objective)
            assert {each["name"] for each in answer["models"]} == {"strong", "cheap"}
        answer = await explain(served, model="auto", headers={"X-Citadel-Optimize": "cost"})
        assert (answer["objective"], answer["model"]) == ("cost", "cheap")
        assert answer["features"]["tasks"]["chat"] > 0
        assert sum(answer["features"]["tasks"].values()) == pytest.approx(1)


def _price(usd):
    return PriceConfig(input_per_mtok_usd=usd, output_per_mtok_usd=usd * 3)
