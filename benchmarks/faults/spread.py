"""How evenly a healthy fleet is used by one instance, and by two that do not see each other's requests."""

import asyncio
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.faults.clients import Answer, Crowd, Door
from benchmarks.faults.story import CLIENTS, Controls

WARM_UP: Final = 200
LOOK_EVERY_S: Final = 0.02


@dataclass(frozen=True, kw_only=True)
class Spread:
    """`largest`: what the busiest replica held, as a multiple of an equal share, on average over the looks."""

    instances: int
    requests: int
    failed: int
    p50_ms: float
    p99_ms: float
    largest: float

    def __str__(self) -> str:
        return (
            f"{self.instances} instance(s): {self.requests} requests, {self.failed} failed, p50 {self.p50_ms:.0f} ms, "
            f"p99 {self.p99_ms:.0f} ms, the busiest replica held {self.largest:.2f} of an equal share"
        )


async def measure(doors: Sequence[Door], controls: Controls, names: Sequence[str], *, requests: int) -> Spread:
    """The same load over one door or several."""
    crowds = [Crowd(door, CLIENTS // len(doors)) for door in doors]
    largest: list[float] = []
    async with asyncio.TaskGroup() as group:
        for crowd in crowds:
            group.create_task(crowd.run())
        await asyncio.gather(*(crowd.until(WARM_UP // len(crowds)) for crowd in crowds))
        known = [len(crowd.answers) for crowd in crowds]
        watching = group.create_task(_watch(controls, names, largest))
        await asyncio.gather(*(crowd.until(WARM_UP + requests // len(crowds)) for crowd in crowds))
        watching.cancel()
        for crowd in crowds:
            crowd.stop()
    answers = [each for crowd, start in zip(crowds, known, strict=True) for each in crowd.answers[start:]]
    return _spread(answers, largest, instances=len(doors))


async def _watch(controls: Controls, names: Sequence[str], largest: list[float]) -> None:
    while True:
        held = await asyncio.gather(*(controls.held(name) for name in names))
        if sum(held):
            largest.append(max(held) * len(held) / sum(held))
        await asyncio.sleep(LOOK_EVERY_S)


def _spread(answers: Sequence[Answer], largest: Sequence[float], *, instances: int) -> Spread:
    ordered = sorted(each.took_s * 1000 for each in answers)
    return Spread(
        instances=instances,
        requests=len(ordered),
        failed=sum(each.failure is not None for each in answers),
        p50_ms=ordered[len(ordered) // 2],
        p99_ms=ordered[int(len(ordered) * 0.99)],
        largest=statistics.mean(largest),
    )
