"""Folders that any user may reach, and owners: processes with embedded parts that a test may kill."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from embedded import processes
from servers import roomy_memory

GONE_S = 15.0
OWNER = Path(__file__).with_name("owner.py")


@dataclass
class Owner:
    """A running owner and what it said; `said` is what came instead of READY when it refused."""

    process: "subprocess.Popen[str]"
    data_dir: Path
    redis: str = ""
    postgres: str = ""
    said: str = ""

    def leave(self) -> int:
        """End it in good order."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(processes.PATIENCE_S)


@pytest.fixture
def open_dir() -> Iterator[Path]:
    """A short folder that everybody may enter; nothing of it runs or stays afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="ct-", dir=roomy_memory()))
    folder.chmod(0o755)
    yield folder
    processes.until(lambda: not processes.of(folder), GONE_S)
    left = processes.of(folder)
    processes.end(left)
    shutil.rmtree(folder, ignore_errors=True)
    assert not left, f"left running: {left}"


@pytest.fixture
def data_dir(open_dir: Path, clean_data_dir: Path) -> Path:
    """A data directory whose cluster is made already; `open_dir` has room for one that is not there yet."""
    return shutil.copytree(clean_data_dir, open_dir / "var")


@pytest.fixture(scope="session")
def clean_data_dir() -> Iterator[Path]:
    """What an edge leaves that was started and ended in good order."""
    with tempfile.TemporaryDirectory(prefix="ct-", dir=roomy_memory()) as folder:
        made = Path(folder) / "var"
        ended = subprocess.run(
            [sys.executable, str(OWNER), str(made)], input="", capture_output=True, text=True, timeout=120, check=False
        )
        assert "READY" in ended.stdout, ended.stdout + ended.stderr
        yield made


@pytest.fixture
def own(open_dir: Path) -> Iterator[Callable[..., Owner]]:
    """Start an owner of a data directory and wait until its parts serve."""
    started: list[subprocess.Popen[str]] = []

    def start(data_dir: Path, *arguments: str, prefix: tuple[str, ...] = ()) -> Owner:
        with (open_dir / "owner.err").open("ab") as errors:
            process = subprocess.Popen(
                [*prefix, sys.executable, str(OWNER), str(data_dir), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd="/",
            )
        started.append(process)
        return _heard(Owner(process, data_dir))

    yield start
    for process in started:
        process.kill()
        with process:
            pass


def _heard(owner: Owner) -> Owner:
    assert owner.process.stdout is not None
    for line in owner.process.stdout:
        word, _, rest = line.strip().partition(" ")
        if word == "READY":
            addresses = json.loads(rest)
            owner.redis, owner.postgres = addresses["redis"], addresses["postgres"]
            return owner
        if word == "REFUSED":
            owner.said = rest
            return owner
    owner.said = f"ended with {owner.process.wait()}"
    return owner


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
