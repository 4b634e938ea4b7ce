"""The command line as a child process, and one running edge for those who ask it."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog

from citadel_edge.cli.main import main
from citadel_edge.config.environment import VARIABLES
from servers import (  # noqa: F401 - fixtures
    Postgres,
    Valkey,
    migrated_template,
    postgres_dsn,
    postgres_server,
    redis_url,
    short_directory,
    valkey_server,
)

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str


class Shell:
    """Types our commands."""

    command = (sys.executable, "-m", "citadel_edge")

    def environment(self, **more: str) -> dict[str, str]:
        """This environment without what would steer the edge."""
        return {name: value for name, value in os.environ.items() if name not in VARIABLES} | more

    def run(self, *arguments: object, cwd: Path | None = None) -> Done:
        """Run one command to its end, in this process: what is tested is not how long Python takes to start."""
        out, err = io.StringIO(), io.StringIO()
        with (
            redirect_stdout(out),
            redirect_stderr(err),
            chdir(cwd or Path.cwd()),
            pytest.MonkeyPatch.context() as patch,
        ):
            for name in VARIABLES:
                patch.delenv(name, raising=False)
            code = main([*map(str, arguments)])
        return Done(code, out.getvalue(), err.getvalue())

    def spawn(self, *arguments: object, cwd: Path | None = None) -> Done:
        """Run one command to its end, as a process of its own."""
        done = subprocess.run(
            [*self.command, *map(str, arguments)],
            cwd=cwd,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def started(self, *arguments: object, cwd: Path | None = None) -> Iterator["subprocess.Popen[str]"]:
        """A command that runs on; killed at the end if it still does."""
        process = subprocess.Popen(
            [*self.command, *map(str, arguments)],
            cwd=cwd,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate(timeout=PATIENCE_S)

    def wait_until(self, fact: Callable[[], bool], what: str) -> None:
        """Ask again and again."""
        deadline = time.monotonic() + PATIENCE_S
        while not fact():
            assert time.monotonic() < deadline, f"waited in vain until {what}"
            time.sleep(0.02)

    def all_healthy(self, data_dir: Path) -> bool:
        """Whether the edge there says so of its four listeners; degraded ones take work too."""
        done = self.run("status", "--data-dir", data_dir, "--json")
        return done.code == 0 and all(each["status"] == "healthy" for each in json.loads(done.out)["listeners"])

    def url(self, data_dir: Path, listener: str) -> str:
        """Where a listener of the edge there is."""
        status = json.loads(self.run("status", "--data-dir", data_dir, "--json").out)
        return next(each["url"] for each in status["listeners"] if each["name"] == listener)

    def write_config(self, directory: Path, *, redis: str, postgres: str, upstream: str, more: str = "") -> Path:
        """A configuration of free ports on given servers."""
        names = ("graphql-api", "streaming-api", "routing-api", "rate-limiting-api")
        ports = ", ".join(f"{name}: {{port: 0}}" for name in names)
        path = directory / "config.yaml"
        path.write_text(
            f"environment: test\ndata_dir: {directory / 'data'}\nlisteners: {{{ports}}}\n"
            f"redis: {{url: '{redis}', deadline_ms: 2000}}\npostgres: {{dsn: '{postgres}'}}\n"
            f"upstreams: [{{id: sim, url: '{upstream}', engine: vllm}}]\n"
            f"models: [{{name: one, deployments: [{{upstream: sim}}]}}]\nprocess: {{grace_s: 3}}\n{more}",
            encoding="utf-8",
        )
        return path


@pytest.fixture(scope="session")
def shell() -> Shell:
    return Shell()


@pytest.fixture(scope="session")
def simulator(shell: Shell) -> Iterator[str]:
    """The URL of a simulated model server, started by our own command."""
    with shell.started("simulate", "--engine", "vllm", "--model", "one", "--port", "0") as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert " at http://127.0.0.1:" in line
        yield line.split(" at ")[1].strip()


@dataclass(frozen=True)
class RunningEdge:
    """A process that serves, and its configuration."""

    config: Path
    data: Path
    process: "subprocess.Popen[str]"


@pytest.fixture(scope="module")
def running(shell: Shell, simulator: str, postgres_server: Postgres, valkey_server: Valkey) -> Iterator[RunningEdge]:  # noqa: F811
    """An edge on real servers, ready."""
    with short_directory() as directory:
        dsn = postgres_server.new_database()
        config = shell.write_config(directory, redis=valkey_server.url, postgres=dsn, upstream=simulator)
        with shell.started("serve", "--config", config) as process:
            data = directory / "data"
            shell.wait_until((data / "control.sock").exists, "the control socket is there")
            shell.wait_until(lambda: shell.all_healthy(data), "all listeners are healthy")
            yield RunningEdge(config, data, process)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=PATIENCE_S)
            assert process.returncode == 0


@pytest.fixture
def log():
    return structlog.get_logger()
