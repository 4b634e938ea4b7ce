"""The life of a part, with shell scripts as parts."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog
from structlog.testing import CapturingLogger
from structlog.typing import FilteringBoundLogger

from citadel_edge.embedded import child
from citadel_edge.embedded.child import Launch, last_words, start
from citadel_edge.embedded.supervisor import Part, PartState, Supervisor
from citadel_edge.errors import StartError
from embedded.processes import children, keepers, of, soon

FOREVER = "echo $$ >> pids; exec sleep 300"


@pytest.fixture
def launch(tmp_path: Path) -> Callable[..., Launch]:
    def make(script: str, program: str = "/bin/sh") -> Launch:
        return Launch(
            command=(program, "-c", script),
            directory=tmp_path,
            log=tmp_path / "part.log",
            lock=tmp_path / "part.lock",
            stop_signal=signal.SIGTERM,
            grace_s=1.0,
        )

    return make


class Lines:
    """The states that were logged, in order."""

    def __init__(self) -> None:
        self.logger = CapturingLogger()

    @property
    def log(self) -> FilteringBoundLogger:
        wrapped: FilteringBoundLogger = structlog.wrap_logger(self.logger, processors=[lambda *args: args[2]])
        return wrapped

    def states(self) -> list[str]:
        return [call.kwargs["state"] for call in self.logger.calls]

    def facts(self, state: str) -> dict[str, object]:
        return next(call.kwargs for call in self.logger.calls if call.kwargs["state"] == state)


@asynccontextmanager
async def supervised(
    launch: Launch, lines: Lines, probe: Callable[[], Awaitable[bool]] | None = None
) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(Part(name="part", launch=launch, probe=probe or yes), log=lines.log)
    async with asyncio.TaskGroup() as group:
        run = group.create_task(supervisor.run())
        yield supervisor
        supervisor.stop()
        await run


async def yes() -> bool:
    return True


async def test_it_is_ready_when_its_probe_says_so_and_stopped_at_the_end(launch, tmp_path: Path) -> None:
    lines, asked = Lines(), []

    async def third_time() -> bool:
        asked.append(1)
        return len(asked) == 3

    async with supervised(launch(FOREVER), lines, third_time) as supervisor:
        assert supervisor.state is PartState.STARTING
        await asyncio.wait_for(supervisor.ready.wait(), 30)
        assert supervisor.state is PartState.READY
        assert len(asked) == 3
    assert lines.states() == ["starting", "ready", "stopped"]
    assert of(tmp_path) == set()


async def test_a_killed_part_comes_back_and_each_change_is_said_once(launch, tmp_path: Path) -> None:
    lines, deaths = Lines(), []
    async with supervised(launch(FOREVER), lines) as supervisor:
        supervisor.when_dead(lambda: deaths.append(supervisor.restarts))
        first = await _pid(tmp_path, 1)
        os.kill(first, signal.SIGKILL)
        assert await _pid(tmp_path, 2) != first
        await asyncio.wait_for(supervisor.ready.wait(), 30)
        assert supervisor.restarts == 1
    assert deaths == [0], "told of the death once, before the next start, and not of the stop"
    assert lines.states() == ["starting", "ready", "backoff", "starting", "ready", "stopped"]
    assert lines.facts("backoff")["exit_code"] == 128 + signal.SIGKILL


async def test_a_killed_keeper_takes_its_child_along_and_both_come_back(launch, tmp_path: Path) -> None:
    async with supervised(launch(FOREVER), Lines()):
        first = await _pid(tmp_path, 1)
        (keeper,) = keepers(tmp_path)
        os.kill(keeper, signal.SIGKILL)
        second = await _pid(tmp_path, 2)
        assert of(tmp_path) == {second, *keepers(tmp_path)}
        assert first not in of(tmp_path)


async def test_a_part_that_dies_at_once_is_tried_at_growing_distances(launch, tmp_path: Path) -> None:
    lines = Lines()
    async with supervised(launch("echo x >> lives; echo broken; exit 4"), lines, _no) as supervisor:
        await asyncio.sleep(1.5)
        lives = len((tmp_path / "lives").read_text().split())
        assert 2 <= lives <= 6
        assert supervisor.restarts >= lives - 1
    assert lines.facts("backoff")["last_words"] == "broken"
    assert lines.facts("backoff")["exit_code"] == 4


async def test_a_program_that_is_not_there_is_a_part_in_backoff(launch) -> None:
    lines = Lines()
    async with supervised(launch("", program="/no/such/program"), lines, _no):
        assert await soon(lambda: "backoff" in lines.states())
    assert "/no/such/program" in str(lines.facts("backoff")["last_words"])


async def test_a_log_that_cannot_be_written_is_a_part_in_backoff(launch, tmp_path: Path) -> None:
    (tmp_path / "part.log").mkdir()
    lines = Lines()
    async with supervised(launch(FOREVER), lines, _no):
        assert await soon(lambda: "backoff" in lines.states())
    assert "part.log" in str(lines.facts("backoff")["reason"])


async def test_a_probe_that_fails_in_a_new_way_is_said_and_does_not_end_the_supervisor(launch, tmp_path: Path) -> None:
    lines = Lines()

    async def surprise() -> bool:
        raise ValueError("a new way")

    async with supervised(launch(FOREVER), lines, surprise) as supervisor:
        assert await soon(lambda: any("problem" in call.kwargs for call in lines.logger.calls))
        assert supervisor.state is PartState.STARTING
    assert of(tmp_path) == set()


async def test_a_stop_ends_a_wait_between_two_lives(launch) -> None:
    lines = Lines()
    async with supervised(launch("exit 1"), lines, _no):
        assert await soon(lambda: lines.states().count("backoff") >= 5)
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began < 10
    assert lines.states()[-1] == "stopped"


async def test_cancelled_it_leaves_the_stopping_to_the_keeper(launch, tmp_path: Path) -> None:
    supervisor = Supervisor(Part(name="part", launch=launch(FOREVER), probe=yes), log=Lines().log)
    async with asyncio.TaskGroup() as group:
        run = group.create_task(supervisor.run())
        await asyncio.wait_for(supervisor.ready.wait(), 30)
        await _pid(tmp_path, 1)
        run.cancel()
    assert supervisor.state is PartState.STOPPED
    assert await soon(lambda: not of(tmp_path))


async def test_nothing_starts_before_the_last_of_a_former_life_is_gone(launch, tmp_path: Path) -> None:
    former = await start(launch("(trap '' TERM; echo $$ > left; exec sleep 2.5) & wait"))
    assert await soon((tmp_path / "left").exists)
    (keeper,) = keepers(tmp_path)
    (shell,) = children(keeper)
    os.kill(keeper, signal.SIGKILL)  # takes the shell along, but not what it started
    assert await soon(lambda: shell not in of(tmp_path))
    assert of(tmp_path)
    await former.wait()
    child_after = await start(launch(FOREVER))
    try:
        assert len(of(tmp_path)) <= 2
        assert await _pid(tmp_path, 1) in of(tmp_path)
    finally:
        await child_after.stop()


async def test_a_former_life_that_does_not_end_is_named(launch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "FORMER_WAIT_S", 0.2)
    former = await start(launch(FOREVER))
    try:
        with pytest.raises(StartError, match=r"part\.lock"):
            await start(launch(FOREVER))
    finally:
        await former.stop()


async def test_a_long_log_is_set_aside_once(launch, tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    for _ in range(2):
        log.write_bytes(b"x" * (child.LOG_LIMIT_BYTES + 1))
        assert await (await start(launch("echo new"))).wait() == 0
    assert log.read_text() == "new\n"
    assert sorted(path.name for path in tmp_path.glob("part.log*")) == ["part.log", "part.log.1"]


async def test_children_see_no_secret_of_the_environment(launch, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("GPU_A_KEY", "hush")
    assert await (await start(launch("env"))).wait() == 0
    said = (tmp_path / "part.log").read_text()
    assert "PATH=" in said
    assert "hush" not in said


def test_last_words_are_one_bounded_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert last_words(log) == ""
    log.write_bytes(b"first\n" + b"y" * 10_000 + b"\n\n")
    assert last_words(log) == "y" * 300


async def _no() -> bool:
    return False


async def _pid(tmp_path: Path, number: int) -> int:
    """The process id of the part's life number `number`, from 1."""
    pids = tmp_path / "pids"
    assert await soon(lambda: pids.exists() and len(pids.read_text().split()) >= number)
    return int(pids.read_text().split()[number - 1])
