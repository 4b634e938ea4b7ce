"""The process: three nested contexts, the edge, its workers, its doors; around them the embedded parts.

Decides the order of coming up and going down. Everything outside of the process may be away at any moment; nothing
here waits for it before the doors are open.
"""

import asyncio
import gc
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import aiohttp
from structlog.typing import FilteringBoundLogger

import citadel_edge
from citadel_edge.accounts.bootstrap import Credentials
from citadel_edge.config.load import Loaded
from citadel_edge.config.shape import ListenerName
from citadel_edge.control import server as control
from citadel_edge.control.notify import Notifier
from citadel_edge.control.protocol import FILE_NAME
from citadel_edge.edge import Edge, open_edge
from citadel_edge.embedded.parts import Parts, open_parts
from citadel_edge.health.verdict import ListenerState
from citadel_edge.process.announce import announce
from citadel_edge.process.controls import ProcessControls
from citadel_edge.process.doors import Doors, bound_sockets, open_doors
from citadel_edge.process.drain import drain
from citadel_edge.process.launch import prepare_accounts
from citadel_edge.process.reload import Reloader, with_parts
from citadel_edge.process.workers import workers
from citadel_edge.telemetry.logs import Logs

COLLECT_AFTER = (200_000, 50, 1_000)
DATABASES_WITHIN_S = 5.0
ANSWERS = (200, 503)


@dataclass(frozen=True, slots=True)
class Signals:
    """What the outside may ask of a running process: to stop, and to read its configuration anew.

    `serving` is ours: before it is set there is nothing to drain, and a stop ends the start.
    """

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    reload: asyncio.Event = field(default_factory=asyncio.Event)
    serving: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where a process runs: its environment's protocols, its log, the stream of its panel."""

    logs: Logs
    out: TextIO
    notifier: Notifier
    inherited: Mapping[str, socket.socket]


async def run(loaded: Loaded, *, reload: Callable[[], Loaded], signals: Signals, around: Surroundings) -> None:
    """Serve until told to stop, then drain.

    Raises:
        StartError: a port or the data directory is taken, a part cannot be started.
    """
    config = loaded.config
    data_dir = config.data_dir.absolute()
    log = around.logs.logger()
    for warning in loaded.warnings:
        log.warning("configuration", warning=warning)
    async with (
        bound_sockets(config, around.inherited) as bound,
        open_parts(config, log=log, progress=_teller(around.out)) as parts,
        patient_start(parts, log),
        open_edge(with_parts(config, parts), logs=around.logs, data_dir=data_dir) as edge,
        workers(edge, parts) as group,
    ):
        reloader = Reloader(loaded, edge, parts, reload)
        async with open_doors(edge, bound, reload=reloader.reload) as doors:
            await _serve(edge, doors, group, reloader=reloader, signals=signals, around=around, data_dir=data_dir)


@asynccontextmanager
async def patient_start(parts: Parts, log: FilteringBoundLogger) -> AsyncIterator[None]:
    """Give embedded databases a moment to come up, so that an ordinary start is a quiet one; then go on regardless."""
    databases = [parts.supervisors[name] for name in ("postgres", "valkey") if name in parts.supervisors]
    try:
        async with asyncio.timeout(DATABASES_WITHIN_S):
            for supervisor in databases:
                await supervisor.ready.wait()
    except TimeoutError:
        log.warning("databases_not_ready", waited_s=DATABASES_WITHIN_S)
    yield


async def _serve(
    edge: Edge,
    doors: Doors,
    group: asyncio.TaskGroup,
    *,
    reloader: Reloader,
    signals: Signals,
    around: Surroundings,
    data_dir: Path,
) -> None:
    controls = ProcessControls(edge, doors, reloader)
    log = edge.logs.logger()
    async with control.serve(data_dir / FILE_NAME, controls, group=group, log=log):
        tasks = [
            group.create_task(_bring_up(edge, doors, around.out, data_dir), name="bring up"),
            group.create_task(_heed_reload(signals, reloader, edge, around.notifier), name="reload"),
            group.create_task(around.notifier.feed_watchdog(lambda: _alive(edge, doors)), name="watchdog"),
        ]
        addresses = {name.value: door.url for name, door in doors.items()}
        log.info("listening", version=citadel_edge.__version__, pid=os.getpid(), **addresses)
        _calm_collector()
        signals.serving.set()
        await around.notifier.ready(_status(edge))
        await signals.stop.wait()
        await around.notifier.stopping("draining")
        for task in tasks:
            task.cancel()
        await drain(edge, list(doors.values()), edge.config.value.process.grace_s)


def _calm_collector() -> None:
    """What is alive after start stays alive: leave it out, and collect seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


async def _bring_up(edge: Edge, doors: Doors, out: TextIO, data_dir: Path) -> None:
    made: Credentials | None = await prepare_accounts(edge)
    await announce(edge, doors, made, out=out, data_dir=data_dir)


async def _heed_reload(signals: Signals, reloader: Reloader, edge: Edge, notifier: Notifier) -> None:
    while True:
        await signals.reload.wait()
        signals.reload.clear()
        await notifier.reloading(edge.clock)
        edge.logs.reopen()
        await reloader.reload()
        await notifier.ready(_status(edge))


async def _alive(edge: Edge, doors: Doors) -> bool:
    """Whether every started listener answers on its own port; that it is too full to do more is an answer too."""
    running = [door for name, door in doors.items() if edge.board.states[name] is not ListenerState.STOPPED]
    timeout = aiohttp.ClientTimeout(total=5)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session:
            return all([await _answers(session, door.url) for door in running])
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    async with session.get(f"{url}/health/live", ssl=False) as answer:
        return answer.status in ANSWERS


def _status(edge: Edge) -> str:
    states = ", ".join(f"{name.value} {edge.board.states[name].value}" for name in ListenerName)
    return f"serving: {states}"


def _teller(out: TextIO) -> Callable[[str], None]:
    def tell(line: str) -> None:
        print(line, file=out, flush=True)

    return tell
