"""`auto` picks a model by what a request needs, and says why; asking why sends nothing."""

import json

import pytest

from citadel_edge.config.shape import Capability, DeploymentConfig, ModelConfig, PriceConfig, RoutingConfig, TierConfig
from citadel_edge.simulator.options import SimulatorOptions
from citadel_edge.simulator.timing import Timing
from conversations import ask, decision, look, said, stream

ROUTING = RoutingConfig(probe_interval_s=0.1)
TOOLS = [{"type": "function", "function": {"name": "find", "parameters": {"type": "object", "properties": {}}}}]
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}

CODE = (
    "Fix this function and explain the bug:\n```python\ndef mean(values):\n    total = 0\n    for v in values:\n"
    "        total += v\n    return total / len(value)\n```\nIt raises NameError: name 'value' is not defined."
)
MATH = "Solve for x: 3x^2 - 12x + 9 = 0. Then compute the integral of x^2 from 0 to 3 and prove the result."
SMALL_TALK = "Hi! How are you today? Tell me something nice about the weather."
ALL = {"chat": 0.95, "code": 0.95, "math": 0.95, "reasoning": 0.95}


def catalogue():
    """Cheap and quick but plain, a coder in the middle, and one that can everything, dear and slow."""

    def priced(dollars):
        return PriceConfig(input_per_mtok_usd=dollars, output_per_mtok_usd=dollars * 3)

    def made(name, upstream, dollars, **fields):
        return ModelConfig(
            name=name, deployments=(DeploymentConfig(upstream=upstream),), price=priced(dollars), **fields
        )

    return (
        made(
            "mini", "sim-0", 0.1, context_tokens=2048, skills={"chat": 0.7, "code": 0.2, "math": 0.2, "reasoning": 0.2}
        ),
        made(
            "coder",
            "sim-1",
            0.4,
            context_tokens=4096,
            skills={"chat": 0.4, "code": 0.9, "math": 0.5, "reasoning": 0.5},
            capabilities=(Capability.JSON,),
        ),
        made(
            "grand",
            "sim-2",
            5.0,
            context_tokens=16384,
            skills=ALL,
            capabilities=(Capability.TOOLS, Capability.JSON, Capability.VISION),
        ),
    )


def replicas():
    """`grand` is slow."""
    sizes = {"mini": 2048, "coder": 4096, "grand": 16384}
    speed = {"mini": 1.0, "coder": 2.0, "grand": 8.0}
    return tuple(
        SimulatorOptions(
            model=name,
            context_tokens=size,
            shortest=10,
            longest=10,
            timing=Timing(first_token_ms=10 * speed[name], decode_ms=2 * speed[name]),
        )
        for name, size in sizes.items()
    )


@pytest.fixture
def shop(edge_with):
    def serve(**changes):
        return edge_with(options=replicas(), changes={"models": catalogue(), "routing": ROUTING, **changes})

    return serve


def chat(content, **fields):
    return {"model": "auto", "messages": [{"role": "user", "content": content}], **fields}


async def picked(served, body, **headers):
    status, answer, got = await ask(served, body, **headers)
    assert status == 200, answer
    return got["X-Citadel-Model"]


def sent(served):
    return sum(sim.stats.started for sim in served.simulators)


async def test_the_best_is_the_most_able_and_the_cheap_one_the_cheapest(shop):
    async with shop() as served:
        assert await picked(served, chat(CODE, model="auto:best")) == "grand"
        assert await picked(served, chat(MATH, model="auto:best")) == "grand"
        assert await picked(served, chat(SMALL_TALK, model="auto:cheap")) == "mini"
        assert await picked(served, chat(SMALL_TALK, model="auto")) == "mini"


async def test_code_goes_to_the_coder_when_price_and_quality_both_count(shop):
    async with shop() as served:
        assert await picked(served, chat(CODE)) == "coder"


async def test_the_fast_one_is_the_fastest_once_it_is_known(shop):
    async with shop() as served:
        for name in ("mini", "coder", "grand"):
            for _ in range(5):
                await ask(served, chat(SMALL_TALK, model=name))
        assert await picked(served, chat(SMALL_TALK, model="auto:fast")) != "grand"


@pytest.mark.parametrize(
    ("objective", "name"),
    [("quality", "auto:best"), ("cost", "auto:cheap"), ("latency", "auto:fast"), ("balanced", "auto")],
)
async def test_the_header_does_what_the_name_does(shop, objective, name):
    async with shop() as served:
        for content in (CODE, MATH, SMALL_TALK):
            by_name = await route(served, chat(content, model=name))
            by_header = await route(served, chat(content), X_Citadel_Optimize=objective)
            assert by_header["model"] == by_name["model"]
            assert by_header["objective"] == by_name["objective"] == objective


async def test_a_model_that_is_named_is_taken_whatever_is_optimised(shop):
    async with shop() as served:
        assert await picked(served, chat(SMALL_TALK, model="grand"), X_Citadel_Optimize="cost") == "grand"


@pytest.mark.parametrize("optimize", ["fastest", "cost,latency"])
async def test_an_unknown_objective_is_refused_by_name(shop, optimize):
    async with shop() as served:
        status, answer, _ = await ask(served, chat(SMALL_TALK), X_Citadel_Optimize=optimize)
        assert (status, answer["error"]["code"]) == (400, "invalid_request")
        assert "latency" in answer["error"]["message"]


@pytest.mark.parametrize("name", ["auto:nonsense", "automatic"])
async def test_other_names_that_begin_so_are_no_models(shop, name):
    async with shop() as served:
        assert (await ask(served, chat(SMALL_TALK, model=name)))[0] == 404


@pytest.mark.parametrize(
    ("fields", "able"),
    [
        ({"tools": TOOLS}, {"grand"}),
        ({"response_format": {"type": "json_object"}}, {"coder", "grand"}),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, PICTURE]}]}, {"grand"}),
        ({"messages": [{"role": "user", "content": "word " * 3000}]}, {"coder", "grand"}),
        ({"messages": [{"role": "user", "content": "word " * 7000}]}, {"grand"}),
        ({"max_tokens": 3000}, {"coder", "grand"}),
    ],
)
async def test_what_a_request_needs_comes_before_what_it_costs(shop, fields, able):
    async with shop() as served:
        for name in ("auto", "auto:cheap", "auto:fast", "auto:best"):
            body = {**chat(SMALL_TALK, model=name), **fields}
            assert (await route(served, body))["model"] in able, name
            assert await picked(served, body) in able, name


async def test_auto_stays_inside_the_tier(shop):
    async with shop(tiers=(TierConfig(name="narrow", models=("mini", "coder")),)) as served:
        assert await picked(served, chat(CODE, model="auto:best")) == "coder"
        status, answer, _ = await ask(served, chat(SMALL_TALK, tools=TOOLS))
        assert status in (400, 403)
        assert answer["error"]["message"]


async def test_auto_passes_over_a_model_whose_replicas_are_gone(shop):
    async with shop() as served:
        await served.simulators[0].kill()
        assert await picked(served, chat(SMALL_TALK, model="auto:cheap")) in {"coder", "grand"}
        await served.simulators[0].restart()


async def test_a_stream_by_auto_names_its_model_too(shop):
    async with shop() as served:
        heard = await stream(served, chat(SMALL_TALK, model="auto:cheap"))
        assert (heard.whole, heard.headers["X-Citadel-Model"]) == (True, "mini")
        (row,) = await served.rows()
        assert row["model"] == "mini"


async def test_auto_is_listed_for_those_who_look(shop):
    async with shop() as served, served.client.get(served.url("/v1/models"), headers=served.as_user()) as answer:
        names = {model["id"] for model in (await answer.json())["data"]}
    assert {"mini", "coder", "grand"} <= names


async def route(served, body, **headers):
    sending = {**served.as_user(), **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with served.client.post(served.url("/v1/route"), json=body, headers=sending) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


@pytest.mark.parametrize("name", ["auto", "auto:cheap", "auto:best", "grand"])
async def test_route_answers_what_would_be_done_and_sends_nothing(shop, name):
    async with shop() as served:
        for content in (CODE, MATH, SMALL_TALK):
            before, rows = sent(served), len(await served.rows())
            explained = await route(served, chat(content, model=name))
            assert (sent(served), len(await served.rows())) == (before, rows)
            check_explained(explained)
            _, _, headers = await ask(served, chat(content, model=name))
            assert (headers["X-Citadel-Model"], headers["X-Citadel-Upstream"]) == (
                explained["model"],
                explained["chosen"],
            )


def check_explained(explained):
    """The decision with every candidate, each score's parts, and what it would cost."""
    assert {"decision", "model", "chosen", "candidates", "estimate"} <= set(explained)
    (candidate,) = [each for each in explained["candidates"] if each["upstream"] == explained["chosen"]]
    assert candidate["excluded"] is None
    assert isinstance(candidate["score"], float | int)
    assert candidate["parts"]
    assert explained["estimate"]["tokens_in"] > 0
    assert explained["estimate"]["cost_usd"] > 0
    json.dumps(explained, allow_nan=False)


async def test_route_names_every_exclusion_and_its_reason(shop):
    async with shop() as served:
        explained = await route(served, chat("word " * 3000, tools=TOOLS))
        assert explained["model"] == "grand"
        out = {model["name"]: model["excluded"] for model in explained["models"]}
        assert out["grand"] is None
        for name in ("mini", "coder"):
            assert out[name]["code"]
            assert out[name]["reason"]


async def test_a_decision_tells_every_candidate_and_every_attempt(edge_with):
    routing = RoutingConfig(probe_interval_s=0.1, retries=3)
    async with edge_with(options=(SimulatorOptions(),) * 3, changes={"routing": routing}) as served:
        await served.simulators[0].fault("500", times=1)
        await served.simulators[2].kill()
        for _ in range(20):
            status, _, headers = await ask(served, served.chat())
            assert status == 200
            told = await decision(served, headers)
            assert {each["upstream"] for each in told["candidates"]} == {"sim-0", "sim-1", "sim-2"}
            for each in told["candidates"]:
                assert set(each) >= {"upstream", "model", "score", "parts", "excluded"}
                assert (each["score"] is None) == (each["excluded"] is not None)
            assert told["attempts"][-1]["outcome"] == "done"
            assert len(told["attempts"]) == int(headers["X-Citadel-Attempts"])
            assert told["attempts"][-1]["upstream"] == headers["X-Citadel-Upstream"]
            assert told["outcome"] == "done"
        listed = (await look(served, "/v1/decisions?limit=5"))["data"]
        assert len(listed) == 5
        await served.simulators[2].restart()


async def test_a_user_sees_its_own_decisions_alone(edge_with):
    async with edge_with() as served:
        _, _, headers = await ask(served, served.chat(), **served.as_admin())
        url = served.url(f"/v1/decisions/{headers['X-Citadel-Decision']}")
        async with served.client.get(url, headers=served.as_user()) as answer:
            assert answer.status == 404
        async with served.client.get(url, headers=served.as_admin()) as answer:
            assert answer.status == 200


async def test_feedback_is_taken_for_one_s_own_decision(edge_with):
    async with edge_with() as served:
        _, answer, headers = await ask(served, served.chat())
        assert said(answer)

        async def give(score, decision_id=headers["X-Citadel-Decision"], who=None):
            body = {"decision_id": decision_id, "score": score}
            async with served.client.post(
                served.url("/v1/feedback"), json=body, headers=who or served.as_user()
            ) as answered:
                return answered.status

        assert await give(1) in (200, 201, 202, 204)
        assert await give(0.25) in (200, 201, 202, 204)
        assert await give(7) == 400
        assert await give(1, decision_id="no-such-decision") in (400, 404)
        assert await give(1, who=served.as_admin()) == 404, "another's is not there"
