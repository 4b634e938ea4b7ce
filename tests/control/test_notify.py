import asyncio
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from citadel_edge.control.notify import Notifier
from citadel_edge.telemetry.clock import Clock


@pytest.fixture(params=["file", "abstract"])
def manager(request, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A service manager's socket and its name as NOTIFY_SOCKET spells it."""
    name = str(tmp_path / "notify") if request.param == "file" else f"@citadel-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name[1:] if name.startswith("@") else name)
        sock.settimeout(20)
        yield sock, name


async def heard(sock: socket.socket) -> list[str]:
    return (await asyncio.to_thread(sock.recv, 4096)).decode().splitlines()


async def test_the_life_of_a_process_is_told_in_the_protocols_words(manager, log):
    sock, name = manager
    with Notifier.take({"NOTIFY_SOCKET": name}, log=log) as notifier:
        await notifier.ready("four listeners\nREADY=0")
        assert await heard(sock) == ["READY=1", "STATUS=four listeners READY=0"]
        await notifier.reloading(Clock())
        reloading, at = await heard(sock)
        assert reloading == "RELOADING=1"
        assert 0 < int(at.removeprefix("MONOTONIC_USEC=")) <= Clock().monotonic_s() * 1e6
        await notifier.status("degraded: redis")
        assert await heard(sock) == ["STATUS=degraded: redis"]
        await notifier.stopping("draining")
        assert await heard(sock) == ["STOPPING=1", "STATUS=draining"]


async def test_without_a_manager_everything_is_silent(log, logged):
    with Notifier.take({}, log=log) as notifier:
        await notifier.ready("here")
        await notifier.feed_watchdog(fine)
    assert logged == []


async def fine() -> bool:
    return True


def test_children_do_not_inherit_the_line(log, tmp_path):
    environ = {"NOTIFY_SOCKET": str(tmp_path / "x"), "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1", "PATH": "/bin"}
    with Notifier.take(environ, log=log):
        assert environ == {"PATH": "/bin"}


@pytest.mark.parametrize("name", ["/nowhere/at/all", "@nobody-listens-here", "x" * 300])
async def test_a_manager_that_is_not_there_is_logged_and_passed_over(name, log, logged):
    with Notifier.take({"NOTIFY_SOCKET": name}, log=log) as notifier:
        await notifier.ready("here")
    assert [entry["event"] for entry in logged] == ["service manager not reachable"]


async def test_a_manager_that_went_away_is_logged_and_passed_over(tmp_path, log, logged):
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        notifier = Notifier.take({"NOTIFY_SOCKET": str(path)}, log=log)
    with notifier:
        await notifier.ready("here")
    assert logged[0]["event"] == "service manager not told"


async def test_a_manager_that_reads_nothing_holds_nothing_up(manager, log, logged):
    _sock, name = manager
    with Notifier.take({"NOTIFY_SOCKET": name}, log=log) as notifier:
        async with asyncio.timeout(30):
            while not logged:
                await notifier.status("x" * 1000)
    assert logged[0]["error"] == "timeout"


async def test_the_watchdog_is_fed_while_the_process_is_alive_and_not_longer(manager, log):
    sock, name = manager
    answers = iter([True, True, False, False, True])

    async def alive() -> bool:
        return next(answers)

    environ = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "20000", "WATCHDOG_PID": str(os.getpid())}
    with Notifier.take(environ, log=log) as notifier:
        assert notifier.watchdog_s == 0.02
        with pytest.raises(RuntimeError, match="StopIteration"):
            await notifier.feed_watchdog(alive)
        await notifier.status("end")
    messages = [await heard(sock) for _ in range(4)]
    assert messages == [["WATCHDOG=1"]] * 3 + [["STATUS=end"]]


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "-5"},
        {"WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"},
    ],
)
def test_a_watchdog_that_is_not_ours_is_none(environ, log):
    with Notifier.take(dict(environ), log=log) as notifier:
        assert notifier.watchdog_s is None
