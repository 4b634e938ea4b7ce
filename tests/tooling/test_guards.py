import shutil
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
TESTS = Path(__file__).parents[1]

BLOCKING_MODULE = """
import time

def nap():
    time.sleep(0.001)

def swallowed():
    try:
        nap()
    except Exception:
        return "kept quiet"
"""

INNER = """
import asyncio, socket, subprocess, sys
import pytest
from citadel_edge import nap_module

async def test_blocks():
    nap_module.nap()

async def test_blocks_and_swallows():
    nap_module.swallowed()

async def test_blocks_in_a_thread():
    await asyncio.to_thread(nap_module.nap)

def test_blocks_without_a_loop():
    nap_module.nap()

async def test_leaves_a_task():
    globals()["kept"] = asyncio.get_running_loop().create_task(asyncio.sleep(60))

async def test_ends_its_task():
    await asyncio.get_running_loop().create_task(asyncio.sleep(0))

def test_leaves_a_child():
    globals()["child"] = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(8)"])

def test_waits_for_its_child():
    subprocess.run([sys.executable, "-c", ""], check=True)

def test_connects_outside():
    with socket.socket() as sock:
        sock.settimeout(0.2)
        sock.connect(("192.0.2.1", 80))

def test_resolves_outside():
    socket.getaddrinfo("example.org", 80)

def test_connects_to_itself():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        pass

def test_ends_the_child_that_was_left():
    globals()["child"].kill()
    globals()["child"].wait()
"""

BAD = ("blocks", "blocks_and_swallows", "leaves_a_task", "leaves_a_child", "connects_outside", "resolves_outside")
GOOD = (
    "blocks_in_a_thread",
    "blocks_without_a_loop",
    "ends_its_task",
    "waits_for_its_child",
    "connects_to_itself",
    "ends_the_child_that_was_left",
)


@pytest.fixture
def outcome(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> str:
    """The report of an inner run, in its own process, under a copy of the shared conftest."""
    monkeypatch.delenv("COVERED", raising=False)
    for name in ("conftest.py", "guards.py", "measured.py"):
        shutil.copy(TESTS / name, pytester.path / name)
    pytester.makeini("[pytest]\nasyncio_mode = auto\npythonpath = .\naddopts = --import-mode=importlib\n")
    package = pytester.mkpydir("citadel_edge")
    (package / "nap_module.py").write_text(BLOCKING_MODULE)
    pytester.makepyfile(test_inner=INNER)
    result = pytester.runpytest_subprocess("-rA", "-q", "-p", "no:cacheprovider")
    return "\n".join(result.outlines)


def test_each_guard_fails_the_test_that_earns_it_and_no_other(outcome: str) -> None:
    failed = {name for name in (*BAD, *GOOD) if _line(outcome, ("FAILED", "ERROR"), name)}
    passed = {name for name in (*BAD, *GOOD) if _line(outcome, ("PASSED",), name)}
    assert failed == set(BAD), outcome
    assert set(GOOD) <= passed, outcome
    assert "time.sleep called from" in outcome


def _line(outcome: str, words: tuple[str, ...], name: str) -> bool:
    return any(
        line.startswith(words) and line.partition("::")[2].split()[0] == f"test_{name}"
        for line in outcome.splitlines()
        if "::" in line
    )
