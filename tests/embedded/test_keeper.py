"""A keeper on its own: what it tells, whom it ends, and that nothing outlives it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from citadel_edge.embedded import keeper
from embedded.conftest import needs_root
from embedded.processes import alive, children, stopped, until

Keep = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def keep() -> Iterator[Keep]:
    """Start a keeper of a shell script; a number that the script prints can be read from its stdout."""
    started: list[subprocess.Popen[str]] = []

    def start(
        script: str, *, stop: int = signal.SIGTERM, grace_s: float = 20, identity: str = "self"
    ) -> "subprocess.Popen[str]":
        order = [str(int(stop)), str(grace_s), identity, "/", "/bin/sh", "-c", script]
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", keeper.__file__, *order],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        with process:
            pass


def test_it_tells_the_childs_exit_code(keep: Keep) -> None:
    assert keep("exit 7").wait(30) == 7


def test_it_tells_the_childs_signal_as_a_shell_does(keep: Keep) -> None:
    assert keep("kill -9 $$").wait(30) == 128 + signal.SIGKILL


def test_the_end_of_the_lifeline_asks_with_the_childs_own_signal(keep: Keep) -> None:
    process = keep("trap 'exit 3' INT; echo up; while :; do sleep 0.05; done", stop=signal.SIGINT)
    assert _line(process) == "up"
    _cut(process)
    assert process.wait(30) == 3


def test_a_stop_that_comes_at_once_is_not_lost_on_the_child(keep: Keep) -> None:
    for _ in range(10):
        process = keep("exec sleep 300")
        _cut(process)
        assert process.wait(15) == 128 + signal.SIGTERM


def test_a_child_that_will_not_stop_is_killed_after_its_grace(keep: Keep) -> None:
    process = keep("trap '' TERM; echo up; while :; do sleep 0.05; done", grace_s=0.3)
    assert _line(process) == "up"
    began = time.monotonic()
    _cut(process)
    assert process.wait(30) == 128 + signal.SIGKILL
    assert time.monotonic() - began >= 0.3


def test_a_stopped_child_is_killed_too(keep: Keep) -> None:
    process = keep("echo $$; kill -STOP $$", grace_s=0.2)
    child = int(_line(process))
    assert until(lambda: stopped(child))
    _cut(process)
    assert process.wait(30) == 128 + signal.SIGKILL


def test_what_the_child_leaves_is_ended_even_in_a_session_of_its_own(keep: Keep) -> None:
    process = keep("setsid sh -c 'echo $$; exec sleep 300' & wait")
    left = int(_line(process))
    assert alive(left)
    os.kill(_child(process), signal.SIGKILL)
    assert process.wait(30) == 128 + signal.SIGKILL
    assert until(lambda: not alive(left))


def test_the_keepers_own_death_is_the_childs(keep: Keep) -> None:
    process = keep("echo $$; exec sleep 300")
    child = int(_line(process))
    process.kill()
    process.wait(30)
    assert until(lambda: not alive(child))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_from_the_terminal_do_not_reach_it(keep: Keep, number: int) -> None:
    process = keep("echo $$; sleep 0.5; exit 5")
    _line(process)
    process.send_signal(number)
    assert process.wait(30) == 5


def test_the_child_hears_signals_as_any_program_does(keep: Keep) -> None:
    process = keep("echo up; exec sleep 300")
    _line(process)
    os.kill(_child(process), signal.SIGINT)
    assert process.wait(30) == 128 + signal.SIGINT


def test_the_child_does_not_hold_the_lifeline(keep: Keep) -> None:
    process = keep("readlink /proc/$$/fd/0")
    assert _line(process) == "/dev/null"


def test_a_program_that_is_not_there_has_its_own_exit_code() -> None:
    assert _kept("self", "/", "/no/such/program").returncode == keeper.EXIT_COMMAND


def test_a_directory_that_is_not_there_has_its_own_exit_code() -> None:
    ended = _kept("self", "/no/such/directory", "/bin/true")
    assert ended.returncode == keeper.EXIT_DIRECTORY
    assert "/no/such/directory" in ended.stderr


@needs_root
@pytest.mark.parametrize(("identity", "groups"), [("namespace:65534:65534", "65534"), ("user:65534:64900", "64900")])
def test_root_is_somebody_else(identity: str, groups: str) -> None:
    ended = _kept(identity, "/", "/bin/sh", "-c", "id -u; id -g")
    assert ended.stdout.split() == ["65534", groups], ended.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may be anybody")
def test_an_identity_that_is_refused_has_its_own_exit_code() -> None:
    assert _kept("user:1:1", "/", "/bin/true").returncode == keeper.EXIT_IDENTITY


def _kept(identity: str, directory: str, *command: str) -> "subprocess.CompletedProcess[str]":
    order = ("15", "1", identity, directory, *command)
    lifeline, held = os.pipe()
    try:
        return subprocess.run(
            [sys.executable, "-I", "-S", keeper.__file__, *order],
            stdin=lifeline,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    finally:
        os.close(lifeline)
        os.close(held)


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _cut(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.close()


def _child(process: "subprocess.Popen[str]") -> int:
    (child,) = children(process.pid)
    return child
