"""Commands that speak with a running process."""

import json
import signal
import threading
from typing import TextIO

import pytest

NAMES = ["graphql-api", "streaming-api", "routing-api", "rate-limiting-api"]


def test_status_shows_listeners_and_dependencies(shell, running):
    done = shell.run("status", "--config", running.config)
    assert (done.code, done.err) == (0, "")
    first, _, listeners_and_checks = done.out.partition("\n\n")
    assert first.startswith("Citadel Edge ")
    listeners, _, checks = listeners_and_checks.partition("\n\n")
    assert [line.split()[0] for line in listeners.splitlines()] == ["LISTENER", *NAMES]
    assert "Routing service healthy with load balancing and circuit breakers" in listeners
    assert {line.split()[0] for line in checks.splitlines()} >= {"CHECK", "redis", "postgres", "upstreams"}


def test_status_for_programs_is_json(shell, running):
    assert [
        listener["name"]
        for listener in json.loads(shell.run("status", "--data-dir", running.data, "--json").out)["listeners"]
    ] == NAMES


def test_a_listener_is_stopped_and_started(shell, running):
    arguments = ("graphql-api", "--config", running.config)
    assert shell.run("listener", "status", *arguments).code == 0
    stopped = shell.run("listener", "stop", *arguments)
    assert (stopped.code, stopped.out.splitlines()[1].split()[:2]) == (0, ["graphql-api", "stopped"])
    assert shell.run("listener", "status", *arguments).code == 1
    assert shell.run("status", "--config", running.config).code == 1
    begun = shell.run("listener", "start", *arguments)
    assert (begun.code, begun.out.splitlines()[1].split()[:2]) == (0, ["graphql-api", "running"])
    shell.wait_until(
        lambda: shell.run("status", "--config", running.config).code == 0, "all listeners are healthy again"
    )


def test_a_shell_needs_no_secrets_to_ask(shell, running):
    text = running.config.read_text()
    try:
        running.config.write_text(text + "api_gateway: {url: ${ONLY_THE_PROCESS_KNOWS}}\n")
        assert shell.run("listener", "status", "routing-api", "--config", running.config).code == 0
        assert shell.run("check", "--config", running.config).code == 2
    finally:
        running.config.write_text(text)


def keep_reading(stream: TextIO) -> list[str]:
    """Lines as they come, gathered by a thread that ends with the stream."""
    lines: list[str] = []
    threading.Thread(target=lambda: lines.extend(iter(stream.readline, "")), daemon=True).start()
    return lines


def test_attach_follows_a_listener_and_ends_quietly(shell, running):
    with shell.started("listener", "attach", "streaming-api", "--data-dir", running.data) as process:
        assert process.stdout is not None
        lines = keep_reading(process.stdout)

        def heard() -> bool:
            shell.run("listener", "stop", "streaming-api", "--data-dir", running.data)
            shell.run("listener", "start", "streaming-api", "--data-dir", running.data)
            return bool(lines)

        shell.wait_until(heard, "a line of the listener comes")
        assert "streaming-api" in lines[0]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")


def test_check_names_the_process_that_holds_the_data_directory(shell, running):
    done = shell.run("check", "--config", running.config)
    assert done.code == 0
    assert f"in use by process {running.process.pid}" in done.out
    assert "migrations applied" in done.out


def test_check_shows_what_the_running_edge_says_of_its_embedded_parts(shell, running, tmp_path):
    embedded = ("--set", "redis.url=embedded", "--set", "postgres.dsn=embedded")
    done = shell.run("check", "--config", running.config, *embedded)
    words = {line.split()[0]: line.split() for line in done.out.splitlines() if line}
    assert done.code == 0
    for name in ("redis", "postgres"):
        assert words[name][1] == "up"
        assert "in the running edge: connected to " in " ".join(words[name])
    bare = shell.run("check", "--set", f"data_dir={running.data}", cwd=tmp_path)
    (model,) = [line for line in bare.out.splitlines() if line.startswith("embedded model")]
    assert "in the running edge: 1 of 1 replicas usable" in model


def test_a_second_process_is_refused_in_one_line(shell, running):
    done = shell.spawn("serve", "--config", running.config)
    assert done.code == 1
    (line,) = [line for line in done.err.splitlines() if line.startswith("citadel-edge: ")]
    assert f"is in use by process {running.process.pid}" in line
    assert "Traceback" not in done.err


def test_bootstrap_makes_no_second_key_unless_forced(shell, running):
    done = shell.run("keys", "bootstrap", "--config", running.config)
    assert (done.code, done.out) == (1, "")
    assert done.err == ("citadel-edge: An admin has a key already. Use that one, or force a further one. (--force)\n")
    forced = shell.run("keys", "bootstrap", "--force", "--config", running.config)
    assert (forced.code, forced.err) == (0, "This is shown once. Keep it safe.\n")
    assert forced.out.startswith("cit_test_")
    assert forced.out.count("\n") == 1


@pytest.fixture
def production(tmp_path, postgres_dsn):
    path = tmp_path / "config.yaml"
    path.write_text(f"environment: production\npostgres: {{dsn: '{postgres_dsn}'}}\ndata_dir: {tmp_path}/data\n")
    return path


def test_production_gets_its_first_key_by_hand(shell, production):
    first = shell.run("keys", "bootstrap", "--config", production)
    assert first.code == 0
    assert first.out.startswith("cit_")
    assert shell.run("keys", "bootstrap", "--config", production).code == 1


def test_the_embedded_database_must_run_for_a_key(shell, tmp_path):
    done = shell.run("keys", "bootstrap", "--set", f"data_dir={tmp_path}", cwd=tmp_path)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("citadel-edge: the embedded PostgreSQL runs only while the edge does: start it")


def test_a_database_that_is_away_is_one_line(shell, tmp_path):
    done = shell.run("keys", "bootstrap", "--set", "postgres.dsn=127.0.0.1:1", cwd=tmp_path)
    assert (done.code, done.out) == (1, "")
    assert done.err.count("\n") == 1
    assert done.err.startswith("citadel-edge: PostgreSQL at 127.0.0.1:1/citadel ")
