"""The edge over servers of the operator's own: nothing embedded, in production."""

import asyncio
import subprocess

import aiohttp
import pytest

from citadel_edge.simulator.options import SimulatorOptions
from citadel_edge.simulator.server import running
from processes import EdgeProcess, served, until_status
from servers import migrated_dsn, migrated_template, own_postgres, own_valkey, postgres_server, redis_url, valkey_server

__all__ = [
    "migrated_dsn",
    "migrated_template",
    "own_postgres",
    "own_valkey",
    "postgres_server",
    "redis_url",
    "valkey_server",
]


def config(sim, *, dsn, redis, **more):
    return {
        "environment": "production",
        "redis": {"url": redis, "deadline_ms": 500},
        "postgres": {"dsn": dsn},
        "upstreams": [{"id": "sim", "url": sim.url, "engine": "vllm"}],
        "models": [{"name": "sim-model", "deployments": [{"upstream": "sim"}]}],
        **more,
    }


@pytest.fixture
def edge(tmp_path):
    return EdgeProcess(tmp_path)


async def command(edge, *words):
    return await asyncio.to_thread(
        subprocess.run, edge.command(*words), capture_output=True, text=True, check=False, timeout=60
    )


async def first_key(edge):
    made = await command(edge, "keys", "bootstrap")
    assert made.returncode == 0, made.stderr
    return next(word for word in made.stdout.split() if word.startswith("cit_"))


async def chat(client, edge, key):
    body = {"model": "sim-model", "messages": [{"role": "user", "content": "Hello"}]}
    headers = {"Authorization": f"Bearer {key}"}
    async with client.post(edge.url("/v1/chat/completions"), json=body, headers=headers) as answer:
        return answer.status


async def test_production_prints_no_key_and_the_first_is_made_by_hand(edge, migrated_dsn, redis_url):
    async with running(SimulatorOptions()) as sim:
        edge.write_config(config(sim, dsn=migrated_dsn, redis=redis_url))
        async with served(edge) as client:
            panel = await edge.panel()
            assert "cit_" not in panel
            assert "curl" not in panel
            assert not (edge.data_dir / "credentials.json").exists()
            assert edge.children() == {}
            key = await first_key(edge)
            assert await chat(client, edge, key) == 200
            assert (await command(edge, "keys", "bootstrap")).returncode == 1
            assert (await command(edge, "check")).returncode == 0
        assert key not in edge.log_path.read_text()


async def test_it_starts_without_its_databases_and_is_whole_when_they_come(edge, own_postgres, own_valkey):
    dsn, redis = own_postgres.new_database(), own_valkey.url
    own_postgres.stop()
    own_valkey.stop()
    async with running(SimulatorOptions()) as sim:
        edge.write_config(config(sim, dsn=dsn, redis=redis))
        edge.start()
        async with aiohttp.ClientSession() as client:
            try:
                await _until_open(client, edge)
                assert await until_status(client, edge, "rate-limiting-api", {"degraded"}) == "degraded"
                assert await until_status(client, edge, "routing-api", {"degraded"}) == "degraded"
                assert await chat(client, edge, "cit_prod_unknown") == 401
                checked = await command(edge, "check")
                assert checked.returncode == 1
                assert "postgres" in checked.stdout
                await asyncio.to_thread(own_valkey.start)
                await asyncio.to_thread(own_postgres.start)
                await until_status(client, edge, "rate-limiting-api", {"healthy"})
                await edge.panel()
                assert await chat(client, edge, await first_key(edge)) == 200
                assert await edge.stop() == 0
            finally:
                edge.kill()


async def _until_open(client, edge):
    async with asyncio.timeout(60):
        while True:
            try:
                async with client.get(edge.url("/health/live")) as answer:
                    assert answer.status == 200
                    return
            except OSError:
                await asyncio.sleep(0.05)


async def test_logs_go_to_a_file_a_listener(edge, migrated_dsn, redis_url, tmp_path):
    async with running(SimulatorOptions()) as sim:
        logs = {"logs": {"directory": str(tmp_path / "logs")}}
        edge.write_config(config(sim, dsn=migrated_dsn, redis=redis_url, **logs))
        async with served(edge) as client:
            assert await chat(client, edge, await first_key(edge)) == 200
            written = tmp_path / "logs" / "routing-api.log"
            async with asyncio.timeout(10):
                while not written.exists() or "/v1/chat/completions" not in written.read_text():
                    await asyncio.sleep(0.05)
        assert "listening" in (tmp_path / "logs" / "citadel-edge.log").read_text()
