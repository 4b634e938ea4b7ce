"""A clock that stands until it is moved, and logs that write into memory or into a directory."""

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest

from citadel_edge.config.shape import LogsConfig
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.logs import Logs


class StandingClock(Clock):
    """Moves only by `advance`."""

    def __init__(self) -> None:
        object.__setattr__(self, "elapsed_s", 0.0)

    def advance(self, by_s: float) -> None:
        object.__setattr__(self, "elapsed_s", self.elapsed_s + by_s)

    def monotonic_s(self) -> float:
        return 1000.0 + self.elapsed_s

    def unix_s(self) -> float:
        return 1_800_000_000.25 + self.elapsed_s

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.unix_s(), UTC)


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@dataclass
class Desk:
    """Logs whose stream is `screen`."""

    logs: Logs
    screen: StringIO

    def said(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.screen.getvalue().splitlines()]


@pytest.fixture
def desk(clock: StandingClock) -> Iterator[Callable[..., Desk]]:
    opened: list[Logs] = []

    def open_desk(**config: object) -> Desk:
        screen = StringIO()
        logs = Logs.open(LogsConfig(**config), stream=screen, clock=clock)
        opened.append(logs)
        return Desk(logs, screen)

    yield open_desk
    for logs in opened:
        logs.close()


@pytest.fixture
async def start() -> Callable[..., asyncio.Task[object]]:
    """Begin a coroutine as a task that the test itself ends."""
    return asyncio.get_running_loop().create_task


@pytest.fixture
def lines_of() -> Callable[[Path], list[dict[str, object]]]:
    return lambda path: [json.loads(line) for line in path.read_text().splitlines()]
