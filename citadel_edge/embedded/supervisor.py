"""The life of one part: started, found ready, missed when it dies, started again, stopped in good order.

Decides when a part counts as ready and when it is tried again. Refuses to know what the part is: a `Part` brings its
own launch and its own probe. Nothing a part does ends the supervisor; every change of state is logged once.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from structlog.typing import FilteringBoundLogger

from citadel_edge.embedded.backoff import Backoff
from citadel_edge.embedded.child import Child, Launch, last_words, start
from citadel_edge.errors import StartError

PROBE_S = 0.02
PROBE_MAX_S = 0.25
PROBE_FAILED_S = 5.0


class PartState(StrEnum):
    """Where a part is in its life.

    `starting`: launched, does not answer yet. `ready`: has answered since its start. `backoff`: died, waits for its
    next start. `stopped`: over.
    """

    STARTING = "starting"
    READY = "ready"
    BACKOFF = "backoff"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What there is to run.

    Attributes:
        name: as logs and `states()` call it.
        launch: how its process is started.
        probe: whether it serves; called again and again after each start until True.
    """

    name: str
    launch: Launch
    probe: Callable[[], Awaitable[bool]]


class Supervisor:
    """Keeps one part alive while `run()` runs."""

    def __init__(self, part: Part, *, log: FilteringBoundLogger) -> None:
        self.part = part
        self.state = PartState.STARTING
        self.ready = asyncio.Event()
        self.restarts = 0
        self._log = log.bind(part=part.name)
        self._told: PartState | None = None
        self._stopping = asyncio.Event()
        self._mourners: list[Callable[[], None]] = []
        self._backoff = Backoff()
        self._jitter = random.Random()  # noqa: S311 - spreads restarts, guards nothing

    def when_dead(self, mourner: Callable[[], None]) -> None:
        """Call `mourner` as soon as the part is found dead, each time; not when it is stopped."""
        self._mourners.append(mourner)

    def stop(self) -> None:
        """Ask `run()` to stop the part and return."""
        self._stopping.set()

    async def run(self) -> None:
        """Keep the part alive until `stop()`; returns when its processes are gone.

        Cancelled, it lets the keeper stop the part and does not wait for it.
        """
        try:
            while not self._stopping.is_set():
                lived_s = await self._live()
                await self._pause(lived_s)
        finally:
            self._enter(PartState.STOPPED)

    async def _live(self) -> float:
        """One life of the part, from start to death; its length in seconds."""
        clock = asyncio.get_running_loop().time
        began = clock()
        self._enter(PartState.STARTING)
        try:
            child = await start(self.part.launch)
        except (OSError, StartError) as error:
            self._enter(PartState.BACKOFF, reason=str(error))
            return 0.0
        try:
            await self._watch(child, began)
        finally:
            child.let_go()
        return clock() - began

    async def _watch(self, child: Child, began: float) -> None:
        async with asyncio.TaskGroup() as group:
            death = group.create_task(child.wait())
            stop = group.create_task(self._stopping.wait())
            probing = group.create_task(self._until_ready(began))
            await asyncio.wait((death, stop), return_when=asyncio.FIRST_COMPLETED)
            for task in (death, stop, probing):
                task.cancel()
        if self._stopping.is_set():
            await child.stop()
        else:
            await self._mourn(death.result())

    async def _until_ready(self, began: float) -> None:
        pause_s = PROBE_S
        while not await self._serves():
            await asyncio.sleep(pause_s)
            pause_s = min(PROBE_MAX_S, pause_s * 1.5)
        took_s = asyncio.get_running_loop().time() - began
        self._enter(PartState.READY, took_s=round(took_s, 3))

    async def _serves(self) -> bool:
        try:
            return await self.part.probe()
        except Exception:  # whatever a half-started server answers, the part's life goes on
            self._log.exception("embedded part", state=self.state.value, problem="its probe failed")
            await asyncio.sleep(PROBE_FAILED_S)
            return False

    async def _mourn(self, exit_code: int) -> None:
        for mourner in self._mourners:
            mourner()
        words = await asyncio.to_thread(last_words, self.part.launch.log)
        self._enter(PartState.BACKOFF, exit_code=exit_code, log=str(self.part.launch.log), last_words=words)

    async def _pause(self, lived_s: float) -> None:
        """Wait before the next start; a stop ends the wait."""
        if self._stopping.is_set():
            return
        self.restarts += 1
        try:
            async with asyncio.timeout(self._backoff.after(lived_s, self._jitter.random())):
                await self._stopping.wait()
        except TimeoutError:
            return

    def _enter(self, state: PartState, **facts: Any) -> None:
        """Take a state; say so when it is a new one."""
        self.state = state
        if state is PartState.READY:
            self.ready.set()
        else:
            self.ready.clear()
        if state is not self._told:
            self._told = state
            say = self._log.warning if state is PartState.BACKOFF else self._log.info
            say("embedded part", state=state.value, **facts)
