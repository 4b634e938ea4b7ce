"""Redis goes away under load and comes back: what the users saw, what they were granted, and what was counted.

Two instances serve the same users. Some stay within their limits, some ask for more than each of them holds. Everything
is measured from outside: the answers, `/health`, the counters in Redis and the ledger's rows.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from benchmarks.limits.counters import Count, counts
from benchmarks.limits.crowd import PATIENCE_S, Crowd, Habit, Part, Person
from benchmarks.limits.outage_figures import Moments, figures
from benchmarks.limits.service import Service, Way, new_user, service
from benchmarks.model_servers import TIMINGS
from benchmarks.subjects import upstreams
from citadel_edge.config.shape import ListenerName

INSTANCES: Final = 2
WARM_UP_S: Final = 1.0
KNOWN_S: Final = 0.3
WHOLE_WITHIN_S: Final = 30.0
SETTLED_WITHIN_S: Final = 5.0
LOOK_EVERY_S: Final = 0.05
MUCH: Final = 10**9
TIERS: Final[tuple[dict[str, Any], ...]] = (
    {
        "name": "steady",
        "burst": 0.05,
        "requests_per_minute": 300,
        "tokens_per_minute": 12_000,
        "concurrent": 8,
        "tokens_per_day": MUCH,
        "tokens_per_month": MUCH,
        "on_redis_down": {"requests": "open", "spend": "open"},
    },
    {
        "name": "crowded",
        "burst": 0.05,
        "requests_per_minute": 6000,
        "tokens_per_minute": MUCH,
        "concurrent": 8,
        "tokens_per_day": MUCH,
        "tokens_per_month": MUCH,
        "on_redis_down": {"requests": "open", "spend": "open"},
    },
)
HABITS: Final = (
    *(Habit(name=f"chatter {n}", tier="steady", part=Part.CHAT, per_s=2.5, tokens=10) for n in range(6)),
    *(Habit(name=f"gateway {n}", tier="steady", part=Part.CHECK, per_s=2.5, tokens=20) for n in range(4)),
    *(Habit(name=f"roaming {n}", tier="steady", part=Part.CHECK, per_s=2.5, tokens=20, roams=True) for n in range(2)),
    Habit(name="many chats", tier="steady", part=Part.CHAT, per_s=20, tokens=10, greedy="requests_per_minute"),
    Habit(name="many checks", tier="steady", part=Part.CHECK, per_s=20, tokens=20, greedy="requests_per_minute"),
    Habit(name="many tokens", tier="steady", part=Part.CHAT, per_s=10, tokens=90, greedy="tokens_per_minute"),
    Habit(
        name="many at once",
        tier="crowded",
        part=Part.CHAT,
        per_s=8,
        tokens=100,
        model="paced",
        greedy="concurrent",
        serves_s=99 * TIMINGS["paced"].decode_ms / 1000,
    ),
    Habit(name="onlooker", tier="steady", part=Part.LIVE, per_s=15, tokens=0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds of each part of the story."""

    before_s: float
    outage_s: float
    after_s: float


@dataclass(slots=True)
class Health:
    """What `/health` of the limits said, instance by instance: when, and whether it was whole."""

    served: Service
    client: aiohttp.ClientSession
    seen: list[tuple[float, bool]] = field(default_factory=list)

    async def watch(self) -> None:
        """Until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            whole = [await self._whole(each.urls[ListenerName.RATE_LIMITING]) for each in self.served.instances]
            self.seen.append((clock(), all(whole)))
            await asyncio.sleep(LOOK_EVERY_S)

    async def until_whole(self) -> float | None:
        """Wait for the next look that finds all whole, and say when that was; null when none does."""
        looks = len(self.seen)
        try:
            async with asyncio.timeout(WHOLE_WITHIN_S):
                while not any(whole for _, whole in self.seen[looks + 1 :]):  # noqa: ASYNC110 - each look is a time
                    await asyncio.sleep(LOOK_EVERY_S)
        except TimeoutError:
            return None
        return next(at for at, whole in self.seen[looks + 1 :] if whole)

    async def _whole(self, url: str) -> bool:
        async with self.client.get(f"{url}/health") as answer:
            return bool((await answer.json())["status"] == "healthy")


async def measure(folder: Path, times: Times, ways: Sequence[Way]) -> dict[str, Any]:
    """The figures, by way."""
    async with upstreams(folder) as models, service(folder, upstreams=models, tiers=TIERS, count=INSTANCES) as served:
        timeout, connector = aiohttp.ClientTimeout(total=PATIENCE_S), aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as client:
            await asyncio.sleep(WARM_UP_S)  # each instance knows of the other
            return {way.value: await _tell(served, client, times, way) for way in ways}


async def _tell(served: Service, client: aiohttp.ClientSession, times: Times, way: Way) -> dict[str, Any]:
    """One outage, with users of its own."""
    people = [await _person(served, client, habit, way) for habit in HABITS]
    crowd = Crowd(people, served.instances, served.admin_key, client)
    health, moments = Health(served, client), Moments()
    async with asyncio.TaskGroup() as group:
        group.create_task(crowd.run())
        watching = group.create_task(health.watch())
        with _stopped(crowd):
            await _pass_through(served, health, moments, times, way)
        watching.cancel()
    counted = await _settled(served, [one for one in people if one.habit.part is not Part.LIVE], crowd)
    return figures(crowd.shots, moments, health.seen, counted, tiers={each["name"]: each for each in TIERS})


async def _pass_through(served: Service, health: Health, moments: Moments, times: Times, way: Way) -> None:
    clock = asyncio.get_running_loop().time
    await asyncio.sleep(KNOWN_S)  # connections are open, keys are known
    moments.began = clock()
    await asyncio.sleep(times.before_s)
    moments.left = clock()
    await served.valkey.leave(way)
    await asyncio.sleep(moments.left + times.outage_s - clock())
    moments.asked_back = clock()
    await served.valkey.come_back(way)
    moments.back = clock()
    moments.whole = await health.until_whole()
    await asyncio.sleep(times.after_s)
    moments.ended = clock()


@contextmanager
def _stopped(crowd: Crowd) -> Iterator[None]:
    try:
        yield
    finally:
        crowd.stop()


async def _settled(served: Service, people: Sequence[Person], crowd: Crowd) -> list[Count]:
    """What is counted once everything is, or as it is after so long."""
    clock = asyncio.get_running_loop().time
    until = clock() + SETTLED_WITHIN_S
    while True:
        found = await counts(people, crowd.shots, redis=served.valkey.path, dsn=served.dsn)
        if all(each.agrees for each in found) or clock() > until:
            return found
        await asyncio.sleep(LOOK_EVERY_S)


async def _person(served: Service, client: aiohttp.ClientSession, habit: Habit, way: Way) -> Person:
    made = await new_user(client, served, name=f"{habit.name}, {way.value}", tier=habit.tier)
    return Person(habit=habit, **made)
