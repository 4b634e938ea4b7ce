"""What happens to the six replicas, and the figures of it.

Fifty clients ask; at one moment one replica is killed, one frozen and one slowed to a tenth; after the asked number of
answers all three are well again, and the clients go on for a while.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from benchmarks.faults.clients import Answer, Crowd, Door, hear
from benchmarks.faults.fleet import SLOTS, Replica

KILLED, FROZEN, SLOWED = "sim-0", "sim-1", "sim-2"
HARMED: Final = (KILLED, FROZEN, SLOWED)
SLOWNESS: Final = 10
SETTLED_S: Final = 2.0
CLIENTS: Final = 50
STREAMS: Final = 18
WARM_UP: Final = 200
HEALTHY_PART: Final = 0.25
LOOK_EVERY_S: Final = 0.05
SHARE: Final = 0.25
"""A replica is used again when it gets this part of an equal share."""

Figures = dict[str, Any]


class Controls:
    """Tells replicas what to be, and looks how many requests they hold."""

    def __init__(self, replicas: Sequence[Replica], client: aiohttp.ClientSession) -> None:
        self._urls = {replica.id: replica.control for replica in replicas}
        self._client = client

    async def become(self, states: Mapping[str, Mapping[str, Any]]) -> None:
        """All at once."""
        await asyncio.gather(*(self._put(name, state) for name, state in states.items()))

    async def held(self, name: str) -> int:
        """Requests that it holds now."""
        async with self._client.get(f"{self._urls[name]}/control/stats?id=none") as answer:
            return int((await answer.json())["totals"]["active"])

    async def _put(self, name: str, state: Mapping[str, Any]) -> None:
        async with self._client.put(f"{self._urls[name]}/control/state", json=state) as answer:
            answer.raise_for_status()


@dataclass(slots=True)
class Moments:
    """When things happened, in seconds of the loop's clock."""

    began: float = 0.0
    faults: float = 0.0
    healed: float = 0.0


async def tell(door: Door, controls: Controls, *, requests: int, recovery_s: float) -> Figures:
    """The whole story and its figures."""
    clock = asyncio.get_running_loop().time
    crowd, moments, held = Crowd(door, CLIENTS), Moments(), dict.fromkeys(HARMED, 0)
    async with asyncio.TaskGroup() as group:
        group.create_task(crowd.run())
        await crowd.until(WARM_UP)  # connections are open, speeds are known
        moments.began = clock()
        await crowd.until(WARM_UP + int(requests * HEALTHY_PART))
        streams = [group.create_task(hear(door, number)) for number in range(STREAMS)]
        await asyncio.sleep(0.6)
        await controls.become({KILLED: {"alive": False}, FROZEN: {"frozen": True}, SLOWED: {"slowness": SLOWNESS}})
        moments.faults = clock()
        await crowd.until(WARM_UP + requests)
        await asyncio.sleep(moments.faults + SETTLED_S + 1.5 - clock())
        await controls.become({KILLED: {"alive": True}, FROZEN: {"frozen": False}, SLOWED: {"slowness": 1}})
        moments.healed = clock()
        watching = group.create_task(_watch(controls, held))
        await asyncio.sleep(recovery_s)
        crowd.stop()
        watching.cancel()
    heard = [task.result() for task in streams]
    return figures(crowd.answers, heard, moments, held)


async def _watch(controls: Controls, held: dict[str, int]) -> None:
    """The most that a healed replica held at once, in its first second."""
    clock = asyncio.get_running_loop().time
    until = clock() + 1.0
    while clock() < until:
        for name, most in held.items():
            held[name] = max(most, await controls.held(name))
        await asyncio.sleep(LOOK_EVERY_S)


def figures(answers: Sequence[Answer], heard: Sequence[Answer], moments: Moments, held: Mapping[str, int]) -> Figures:
    """Everything that is to be shown."""
    healthy = [each for each in answers if each.began >= moments.began and each.ended <= moments.faults]
    turmoil = [each for each in answers if moments.faults - 1 <= each.began < moments.faults + SETTLED_S]
    after = [each for each in answers if moments.faults + SETTLED_S <= each.began and each.ended < moments.healed]
    recovery = [each for each in answers if each.ended >= moments.healed]
    failures = [each.failure for each in answers if each.failure]
    return {
        "requests": len(answers),
        "failed": len(failures),
        "failures": failures[:5],
        "moved": sum(each.attempts > 1 for each in answers),
        "healthy": _spread(healthy),
        "turmoil": _spread(turmoil),
        "after": _spread(after),
        "after_on_harmed": dict(Counter(each.upstream for each in after if each.upstream in HARMED)),
        "p99_ratio": _quantile(after, 0.99) / _quantile(healthy, 0.99),
        "streams": len(heard),
        "streams_failed": sum(each.failure is not None for each in heard),
        "stream_failures": [each.failure for each in heard if each.failure][:5],
        "streams_by_first_replica": dict(sorted(Counter(each.upstream for each in heard).items())),
        "slowest_stream_s": round(max(each.took_s for each in heard), 2),
        "recovery": _spread(recovery),
        "recovery_failed": sum(each.failure is not None for each in recovery),
        "recovered_after_s": {name: recovered_after_s(answers, name, moments) for name in HARMED},
        "last_shares": _shares([each for each in recovery if each.ended > answers[-1].ended - 3.0]),
        "most_held_in_first_second": dict(held),
        "slots": SLOTS,
    }


def recovered_after_s(answers: Sequence[Answer], name: str, moments: Moments, window_s: float = 1.0) -> float | None:
    """Seconds from the healing until the replica got its part of an equal share for a window; None: it never did."""
    after = sorted((each for each in answers if each.began >= moments.healed), key=lambda each: each.began)
    if not after:
        return None
    start, end = moments.healed, after[-1].began
    while start + window_s <= end:
        inside = [each for each in after if start <= each.began < start + window_s]
        if inside and sum(each.upstream == name for each in inside) / len(inside) >= SHARE / 6:
            return round(start + window_s - moments.healed, 2)
        start += window_s / 4
    return None


def _spread(answers: Sequence[Answer]) -> Figures:
    quantiles = {f"p{round(q * 100)}_ms": round(_quantile(answers, q) * 1000, 1) for q in (0.5, 0.95, 0.99)}
    return {"requests": len(answers), **quantiles, "max_ms": round(_quantile(answers, 1.0) * 1000, 1)}


def _quantile(answers: Sequence[Answer], share: float) -> float:
    ordered = sorted(each.took_s for each in answers)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


def _shares(answers: Sequence[Answer]) -> dict[str, float]:
    """By replica, 1 is an equal share."""
    counts = Counter(each.upstream for each in answers)
    return {name: round(count * 6 / len(answers), 2) for name, count in sorted(counts.items())}
