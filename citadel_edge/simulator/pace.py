"""Waiting at the speed of the simulated engine: the one place of the simulator that sleeps between tokens."""

import asyncio
from collections.abc import Callable

from citadel_edge.simulator.conduct import Conduct
from citadel_edge.simulator.slots import Slots


class Pace:
    """The tokens of one request, one `step` apart, by deadlines so that small delays do not add up."""

    def __init__(self, conduct: Conduct, slots: Slots, clock: Callable[[], float]) -> None:
        self._conduct = conduct
        self._slots = slots
        self._clock = clock
        self._due = clock()

    async def step(self) -> None:
        """Wait for the next token; at no cost in time, still let others run."""
        step = self._conduct.timing.decode_s(self._slots.running)
        if not step:
            await asyncio.sleep(0)
            return
        now = self._clock()
        self._due = max(self._due + step, now)
        await asyncio.sleep(self._due - now)
