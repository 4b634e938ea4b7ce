"""The board of cached checks: who is asked how often, and what was last seen.

`/health` reads it and does no I/O of its own. Refuses to know what a check means for a service: that is `verdict`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import aiohttp
from structlog.typing import FilteringBoundLogger

from citadel_edge.config.shape import ListenerName
from citadel_edge.health.verdict import Check, Condition, ListenerState, Verdict, judge
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.hub import Hub, Topic

Probe = Callable[[], Awaitable[Check]]
Glance = Callable[[], Check]
ASK_EVERY_S = 0.25
ASK_WITHIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Asked:
    """A dependency that must be asked over the network."""

    name: str
    probe: Probe


class Board:
    """What was last seen of every dependency, and the state of the four listeners."""

    def __init__(self, *, clock: Clock, hub: Hub, log: FilteringBoundLogger) -> None:
        self._clock = clock
        self._hub = hub
        self._log = log
        self._asked: list[Asked] = []
        self._glances: dict[str, Glance] = {}
        self._seen: dict[str, Check] = {}
        self._told: dict[ListenerName, str] = {}
        self.states = dict.fromkeys(ListenerName, ListenerState.RUNNING)
        self.started_at_s = clock.monotonic_s()

    def ask(self, name: str, probe: Probe) -> None:
        """Ask a dependency again and again in the background."""
        self._asked.append(Asked(name, probe))
        self._seen[name] = Check(Condition.UNKNOWN, "not asked yet")

    def glance(self, name: str, glance: Glance) -> None:
        """Look at something in this process each time health is read; must not wait."""
        self._glances[name] = glance

    def checks(self) -> Mapping[str, Check]:
        """Everything last seen, by name."""
        return {**self._seen, **{name: glance() for name, glance in self._glances.items()}}

    def verdict(self, service: ListenerName) -> Verdict:
        """How a service is right now, from what was last seen."""
        return judge(service, self.checks(), self.states[service])

    def uptime_s(self) -> float:
        """Seconds since this process was put together."""
        return self._clock.monotonic_s() - self.started_at_s

    async def run(self) -> None:
        """Ask everyone, for ever; each at its own pace, so that a frozen one holds no other's news."""
        async with asyncio.TaskGroup() as group:
            for asked in self._asked:
                group.create_task(self._keep_asking(asked), name=f"health-{asked.name}")
            group.create_task(self._keep_telling(), name="health-tell")

    async def look_once(self) -> None:
        """Ask everyone once, at the same time."""
        async with asyncio.TaskGroup() as group:
            for asked in self._asked:
                group.create_task(self._look(asked))
        self.tell()

    def tell(self) -> None:
        """Publish the services whose verdict changed."""
        for service in ListenerName:
            verdict = self.verdict(service)
            known = self._told.get(service)
            if known != verdict.message:
                self._told[service] = verdict.message
                self._publish(verdict, first=known is None)

    def _publish(self, verdict: Verdict, *, first: bool) -> None:
        news = {"service": verdict.service.value, "status": verdict.status.value, "message": verdict.message}
        self._hub.publish(Topic.HEALTH, news)
        if not first or verdict.http_status != 200:  # noqa: PLR2004 - the HTTP status
            self._log.info("health", listener=verdict.service.value, status=verdict.status.value, text=verdict.message)

    async def _keep_asking(self, asked: Asked) -> None:
        while True:
            await self._look(asked)
            await asyncio.sleep(ASK_EVERY_S)

    async def _keep_telling(self) -> None:
        while True:
            await asyncio.sleep(ASK_EVERY_S)
            self.tell()

    async def _look(self, asked: Asked) -> None:
        try:
            async with asyncio.timeout(ASK_WITHIN_S):
                self._seen[asked.name] = await asked.probe()
        except TimeoutError:
            self._seen[asked.name] = Check(Condition.DOWN, f"no answer within {ASK_WITHIN_S:g} s")
        except Exception as error:
            self._log.warning("probe_failed", dependency=asked.name, error=type(error).__name__)
            self._seen[asked.name] = Check(Condition.DOWN, type(error).__name__)


def http_probe(session: aiohttp.ClientSession, url: str | None, path: str, clock: Clock) -> Probe:
    """A probe of something that speaks HTTP: any answer under 500 is up. Without a URL it is absent."""

    async def probe() -> Check:
        if url is None:
            return Check(Condition.ABSENT, "not configured")
        began_s = clock.monotonic_s()
        try:
            async with session.get(url.rstrip("/") + path, allow_redirects=False) as answer:
                status = answer.status
        except (aiohttp.ClientError, OSError) as error:
            return Check(Condition.DOWN, f"unreachable ({type(error).__name__})")
        latency_ms = round((clock.monotonic_s() - began_s) * 1000, 3)
        up = status < 500  # noqa: PLR2004 - the HTTP classes
        return Check(Condition.UP if up else Condition.DOWN, f"answers {status}", latency_ms)

    return probe
