"""What a newcomer sees, and what the edge survives: the real parts, the real model, the real command."""

import asyncio
import os
import shlex
import signal
import stat
import subprocess
import time

import aiohttp
import asyncpg
import openai
import psutil
import pytest

from processes import MODEL, EdgeProcess, served, status_of, until_status

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "What is the capital of France?"}], "max_tokens": 16}


async def ask(client, edge, *, key="admin_key", **fields):
    """The admin's key has no limits, the demo user's has."""
    headers = edge.headers(key)
    async with client.post(edge.url("/v1/chat/completions"), json={**CHAT, **fields}, headers=headers) as answer:
        return answer.status, await answer.json()


async def rows(edge):
    connection = await asyncpg.connect(
        host=str(edge.data_dir / "postgres" / "socket"), user="citadel", database="citadel", password=""
    )
    try:
        return await connection.fetch("SELECT * FROM usage_events ORDER BY created_at")
    finally:
        await connection.close()


async def until_rows(edge, count, within_s=20):
    async with asyncio.timeout(within_s):
        while len(found := await rows(edge)) < count:
            await asyncio.sleep(0.1)
    return found


async def test_the_panel_s_line_is_answered_by_the_model(edge):
    async with served(edge) as client:
        panel = await edge.panel()
        for name, port in edge.ports.items():
            assert f"{name:<18} http://127.0.0.1:{port}" in panel
        assert edge.keys["admin_key"] in panel
        assert edge.keys["demo_key"] in panel
        assert stat.S_IMODE((edge.data_dir / "credentials.json").stat().st_mode) == 0o600
        line = next(line for line in panel.splitlines() if line.startswith("curl "))
        ran = await asyncio.to_thread(subprocess.run, shlex.split(line), capture_output=True, text=True, check=True)
        assert '"content":"' in ran.stdout
        for listener in edge.ports:
            assert await until_status(client, edge, listener, {"healthy"}) == "healthy"
        log = edge.log_path.read_text()
        assert edge.keys["demo_key"] not in log
        assert edge.keys["admin_key"] not in log


async def test_a_warm_start_is_quick_and_keeps_keys_and_rows(edge):
    async with served(edge) as client:
        keys = edge.keys
        await ask(client, edge)
        await until_rows(edge, 1)
    before = len((edge.data_dir / "credentials.json").read_text())
    began = time.monotonic()
    async with served(edge) as client:
        for listener in edge.ports:
            await until_status(client, edge, listener, {"healthy"})
        took_s = time.monotonic() - began
        assert took_s < 8 * 5  # 8 s is the promise on a quiet machine, shown by the benchmark; this one is shared
        assert edge.keys == keys
        assert len((edge.data_dir / "credentials.json").read_text()) == before
        assert edge.keys["admin_key"] not in await edge.panel()
        assert len(await rows(edge)) >= 1
        assert (await ask(client, edge))[0] == 200


async def test_the_sdk_s_usage_is_the_row_s(edge):
    async with served(edge):
        known = len(await rows(edge))
        async with openai.AsyncOpenAI(base_url=edge.url("/v1"), api_key=edge.keys["demo_key"]) as client:
            whole = await client.chat.completions.create(**CHAT)
            stream = await client.chat.completions.create(**CHAT, stream=True, stream_options={"include_usage": True})
            (usage,) = [chunk.usage async for chunk in stream if chunk.usage]
        found = (await until_rows(edge, known + 2))[known:]
        assert [(row["tokens_in"], row["tokens_out"]) for row in found] == [
            (whole.usage.prompt_tokens, whole.usage.completion_tokens),
            (usage.prompt_tokens, usage.completion_tokens),
        ]
        assert {row["outcome"] for row in found} == {"done"}


@pytest.mark.parametrize(
    ("part", "listener"), [("valkey", "rate-limiting-api"), ("postgres", "rate-limiting-api"), ("llama", "routing-api")]
)
async def test_a_child_that_is_killed_is_missed_said_and_replaced(edge, part, listener):
    async with served(edge) as client:
        await until_status(client, edge, listener, {"healthy"})
        assert (await ask(client, edge))[0] == 200
        victim = edge.children()[part]
        os.kill(victim.pid, signal.SIGKILL)
        async with asyncio.TaskGroup() as watchers:
            watching = watchers.create_task(_statuses_until_recovered(client, edge, listener))
            while not watching.done():
                assert (await ask(client, edge, max_tokens=2))[0] == 200
        assert watching.result() <= {"healthy", "degraded"}
        assert edge.children()[part].pid != victim.pid


async def _statuses_until_recovered(client, edge, listener):
    """What health says until it said degraded and then healthy again."""
    seen = {await until_status(client, edge, listener, {"degraded"}, within_s=60)}
    async with asyncio.timeout(60):
        while (status := await status_of(client, edge, listener)) != "healthy":
            seen.add(status)
            await asyncio.sleep(0.05)
    return seen


async def test_sigterm_lets_a_stream_finish_and_exits_with_0_within_the_grace(edge):
    edge.write_config({"process": {"grace_s": 15}})
    edge.start()
    try:
        await edge.panel()
        async with openai.AsyncOpenAI(base_url=edge.url("/v1"), api_key=edge.keys["demo_key"]) as client:
            stream = await client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": "Count to twenty."}], max_tokens=60, stream=True
            )
            chunks = []
            async for chunk in stream:
                chunks.append(chunk)
                if len(chunks) == 2:
                    began = time.monotonic()
                    edge.send(signal.SIGTERM)
            assert chunks[-1].choices[0].finish_reason in ("stop", "length")
        assert await edge.exited(30) == 0
        assert time.monotonic() - began < 15 + 5
        assert edge.mine() == []
    finally:
        edge.kill()
        edge.write_config({})


async def test_the_killed_edge_leaves_no_orphan_no_row_behind_and_starts_clean(edge):
    edge.start()
    try:
        await edge.panel()
        known = len(await rows(edge))
        async with aiohttp.ClientSession() as client:
            answers = await asyncio.gather(*(ask(client, edge, max_tokens=2) for _ in range(8)))
            assert {status for status, _ in answers} == {200}
            os.kill(edge.pid, signal.SIGKILL)
        await edge.exited(10)
        _, alive = await asyncio.to_thread(psutil.wait_procs, edge.mine(), 20)
        assert alive == []
    finally:
        edge.kill()
    async with served(edge) as client:
        found = await until_rows(edge, known + 8)
        assert len(found) == known + 8
        assert len({row["event_id"] for row in found}) == len(found)
        assert (await ask(client, edge))[0] == 200


async def test_a_second_edge_on_the_same_data_is_refused_in_words(edge):
    async with served(edge):
        other = EdgeProcess(edge.home)
        other.config_path = edge.home / "other.yaml"
        other.write_config({})
        ran = await asyncio.to_thread(
            subprocess.run, other.command("serve"), capture_output=True, text=True, check=False, timeout=60
        )
        assert ran.returncode == 1
        assert f"in use by process {edge.pid}" in ran.stderr
        assert "Traceback" not in ran.stderr


async def test_a_port_that_is_taken_is_refused_in_words_and_nothing_is_started(edge, tmp_path):
    async with served(edge):
        other = EdgeProcess(tmp_path)
        other.ports = edge.ports
        other.write_config({})
        ran = await asyncio.to_thread(
            subprocess.run, other.command("serve"), capture_output=True, text=True, check=False, timeout=60
        )
        assert ran.returncode == 1
        assert "cannot bind 127.0.0.1" in ran.stderr
        assert not (tmp_path / "var" / "postgres").exists()


async def test_sighup_applies_a_good_file_and_refuses_a_bad_one(edge):
    async with served(edge) as client:
        edge.write_config({"http": {"max_body_bytes": 100}})
        edge.send(signal.SIGHUP)
        async with asyncio.timeout(20):
            while (await ask(client, edge))[0] != 413:
                await asyncio.sleep(0.1)
        edge.write_config({"http": {"max_body_bytes": "huge"}})
        edge.send(signal.SIGHUP)
        async with asyncio.timeout(20):
            while "reload_refused" not in edge.log_path.read_text():
                await asyncio.sleep(0.1)
        assert (await ask(client, edge))[0] == 413
        edge.write_config({})
        edge.send(signal.SIGHUP)
        async with asyncio.timeout(20):
            while (await ask(client, edge))[0] != 200:
                await asyncio.sleep(0.1)


async def test_a_listener_is_stopped_and_started_by_command(edge):
    async def command(*words):
        return await asyncio.to_thread(
            subprocess.run, edge.command(*words), capture_output=True, text=True, check=False, timeout=30
        )

    async with served(edge) as client:
        assert (await command("listener", "stop", "graphql-api")).returncode == 0
        assert await status_of(client, edge, "graphql-api") == "unhealthy"
        stopped = await command("listener", "status", "graphql-api")
        assert "stopped" in stopped.stdout
        assert await status_of(client, edge, "routing-api") == "healthy"
        assert (await command("listener", "start", "graphql-api")).returncode == 0
        await until_status(client, edge, "graphql-api", {"healthy"})
        shown = await command("status")
        assert shown.returncode == 0
        assert all(name in shown.stdout for name in edge.ports)
        checked = await command("check")
        assert checked.returncode in (0, 1), checked.stderr
    assert (await command("status")).returncode == 1
