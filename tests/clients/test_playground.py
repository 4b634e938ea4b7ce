"""The playground in a browser: it loads without a key, takes one, asks, hears events, and speaks with nobody else."""

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from citadel_edge.config.shape import ListenerName
from citadel_edge.listeners.graphql.schema import read_schema
from citadel_edge.simulator.options import SimulatorOptions
from citadel_edge.simulator.timing import Timing

SLOW = SimulatorOptions(timing=Timing(first_token_ms=20, decode_ms=5))
LONGEST_WAIT_S = 60.0
WRONG = "cit_test_" + "0" * 40


async def revoke(served, key):
    who = await served.edge.directory.authenticate(key)
    path = f"/v1/users/{who.user_id}/keys/{who.key_id}"
    async with served.client.delete(served.url(path, ListenerName.RATE_LIMITING), headers=served.as_admin()) as answer:
        assert answer.status < 300


@pytest.fixture
async def steps(edge_with, node, chromium, tmp_path):
    """What was seen at each step, by its name, and the edge it was seen at. Pictures are in `tmp_path`."""
    async with edge_with(options=(SLOW,)) as served:
        origin = served.url("", ListenerName.GRAPHQL)
        told = {"program": chromium, "origin": f"{origin}/", "folder": str(tmp_path), "scheme": "light"}
        keys = {"key": served.keys.admin_key, "wrong": WRONG, "revoked": served.keys.demo_key}
        found = {}
        async with node.running("playground_page.mjs", **keys, **told) as running, asyncio.timeout(LONGEST_WAIT_S):
            while "revoked" not in found:
                step = await running.hear()
                found[step["name"]] = step
                if step["name"] == "waiting":
                    await revoke(served, served.keys.demo_key)
        yield found, urlsplit(origin).netloc, served.keys.admin_key


async def test_somebody_tries_the_graph(steps, tmp_path):
    found, host, key = steps
    assert {urlsplit(each).netloc for step in found.values() for each in step["asked"]} == {host}
    assert [step["complaints"] for name, step in found.items() if name != "wrong"] == [[]] * (len(found) - 1)
    assert [step["refused"] for name, step in found.items() if name != "wrong"] == [[]] * (len(found) - 1)

    loaded = found["loaded"]
    assert [each for each in loaded["asked"] if "graphql" in urlsplit(each).path.split("/")] == []
    assert "Enter a key" in loaded["result"]
    assert loaded["tabs"] == ["Models", "Usage", "Quota", "Chat", "Tokens", "Route", "Figures"]

    assert found["wrong"]["notice"] == "This key is not accepted."
    assert len(found["wrong"]["refused"]) == 1
    assert found["wrong"]["stored"] == {}

    assert found["known"]["notice"] == "admin · admin · tier unlimited"
    assert found["saved"]["file"] == "schema.graphql"
    saved, written = await asyncio.to_thread(lambda: (Path(tmp_path, "schema.graphql").read_text(), read_schema()))
    assert saved == written
    assert found["models"]["result"]["data"]["models"]["nodes"][0]["name"] == "sim-model"

    tokens = found["tokens"]["result"]
    assert "subscription Tokens" in found["tokens"]["query"]
    assert tokens["events"] >= len(tokens["latest"]) > 3
    assert tokens["latest"][0]["data"]["chat"]["end"]["outcome"] == "DONE"
    assert any(each.startswith("ws://") for each in found["tokens"]["asked"])

    assert found["figures"]["result"]["latest"][-1]["data"]["metrics"]["upstreams"][0]["upstream"] == "sim-0"
    assert all(each in found["docs"]["text"] for each in ("Query", "Mutation", "Subscription"))

    assert found["reloaded"]["notice"] == found["known"]["notice"]
    assert key in found["reloaded"]["kept"]["session"].values()
    assert key not in str(found["reloaded"]["kept"]["local"])
    assert found["forgotten"]["kept"] == {}

    assert found["revoked"]["notice"] == "This key is not accepted."
    assert found["revoked"]["result"]["errors"] == [{"message": "This key is not accepted."}]
    assert all(Path(tmp_path, f"{name}.png").stat().st_size for name in found)
