"""The control routes."""

import json
import re

import pytest

MODEL = "sim-model"


async def control(client, method, path, body=None):
    async with client.session.request(method, client.sim.control_url + path, json=body) as answer:
        text = await answer.text()
        return answer.status, json.loads(text) if text else None


@pytest.mark.parametrize("control_port", [None, 0])
async def test_faults_are_added_listed_and_deleted(simulated, control_port):
    async with simulated(engine="vllm", control_port=control_port) as client:
        status, made = await control(client, "POST", "/control/faults", {"kind": "500", "match": {"model": MODEL}})
        assert status == 201
        assert (await client.post(client.body()))[0] == 500
        _, listed = await control(client, "GET", "/control/faults")
        assert [(fault["kind"], fault["struck"]) for fault in listed["faults"]] == [("500", 1)]
        path = f"/control/faults/{made['ids'][0]}"
        assert (await control(client, "DELETE", path))[0] == 204
        assert (await control(client, "DELETE", path))[0] == 404
        assert (await client.post(client.body()))[0] == 200
        faults = [{"kind": "500", "times": 1}, {"kind": "429", "times": 1}]
        assert (await control(client, "POST", "/control/faults", faults))[0] == 201
        assert [(await client.post(client.body()))[0] for _ in range(3)] == [500, 429, 200]
        await control(client, "POST", "/control/faults", {"kind": "freeze"})
        assert (await control(client, "DELETE", "/control/faults"))[0] == 204
        assert (await client.get("/health"))[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "nonsense"},
        {"kind": "stall", "typo": 1},
        {"kind": "stall", "probability": 3},
        5,
        {"kind": "unreachable"},
    ],
)
async def test_a_wrong_fault_is_refused_with_its_reason(simulated, body):
    async with simulated(engine="vllm") as client:
        status, answer = await control(client, "POST", "/control/faults", body)
        assert (status, bool(answer["error"])) == (400, True)
        assert client.sim.serving.faults.entries() == []


async def test_stats_tell_what_the_upstream_was_asked_and_hide_keys(simulated):
    async with simulated(engine="vllm") as client:
        headers = {"X-Request-Id": "r7", "Authorization": "Bearer very-secret-key"}
        await client.post(client.body(max_tokens=5), headers=headers)
        await client.post(client.body())
        _, stats = await control(client, "GET", "/control/stats?id=r7")
        (request,) = stats["requests"]
        text = json.dumps(stats)
    assert request["body"]["max_tokens"] == 5
    assert (request["generated"], request["outcome"], request["path"]) == (5, "done", "/v1/chat/completions")
    assert request["arrived_at"] <= request["first_token_at"] <= request["ended_at"] <= stats["now"]
    assert stats["totals"]["started"] == 2
    assert "very-secret" not in text


async def test_wrong_gauges_lie_until_they_are_cleared(simulated):
    async with simulated(engine="vllm") as client:

        async def running():
            text = (await client.get("/metrics"))[1].decode()
            return float(re.search(r"^vllm:num_requests_running\{.*\} (\S+)$", text, re.MULTILINE).group(1))

        assert await running() == 0
        assert (await control(client, "PUT", "/control/gauges", {"running": 99, "kv_usage": 0.99}))[0] == 200
        assert await running() == 99
        _, stats = await control(client, "GET", "/control/stats")
        assert (stats["load"]["running"], stats["load"]["waiting"]) == (99, 0)
        assert (await control(client, "DELETE", "/control/gauges"))[0] == 204
        assert await running() == 0
        _, stuck = await control(client, "PUT", "/control/gauges", {})
        assert stuck == {"running": 0, "waiting": 0, "kv_usage": 0.0}
        assert (await control(client, "PUT", "/control/gauges", {"runing": 1}))[0] == 400


async def test_the_prefix_cache_can_be_forgotten(simulated):
    async with simulated(engine="vllm") as client:
        body = client.body("word " * 60, max_tokens=1)
        await client.post(body)
        assert (await control(client, "DELETE", "/control/cache"))[0] == 204
        _, answer = await client.post(body)
        assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
