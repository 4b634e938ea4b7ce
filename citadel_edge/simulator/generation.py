"""The tokens of one answer, one step after the other: time passes, faults strike, frames go out.

Refuses to know where the tokens come from (`plan`), how long a step takes (`timing`) and how a fault is done
(`strikes`).
"""

from collections.abc import Callable
from dataclasses import dataclass

from citadel_edge.simulator.conduct import Conduct
from citadel_edge.simulator.dialects.frames import Frames
from citadel_edge.simulator.out import Out
from citadel_edge.simulator.pace import Pace
from citadel_edge.simulator.slots import Slots
from citadel_edge.simulator.strikes import Strikes
from citadel_edge.simulator.work import Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """The engine's loop.

    Attributes:
        conduct: how fast, and whether at all.
        slots: how many run beside.
        strikes: who makes faults happen.
        clock: monotonic seconds.
        chunk_tokens: how many tokens come together, as with speculative decoding.
    """

    conduct: Conduct
    slots: Slots
    strikes: Strikes
    clock: Callable[[], float]
    chunk_tokens: int

    async def speak(self, work: Work, frames: Frames | None, out: Out | None) -> bool:
        """Generate the tokens, and send them when there is a stream; False: a fault ended the answer."""
        record, trip = work.record, work.trip
        if frames is None and trip < 0 and not self.conduct.timing.decode_ms:
            record.generated = len(work.plan)
            return True
        pace = Pace(self.conduct, self.slots, self.clock)
        for number, last, text in work.plan.chunks(self.chunk_tokens, cut=trip):
            if number - 1 == trip and not await self._struck(work, out):
                return False
            if number > 1:
                await pace.step()
            await self._said(frames, out, text, last)
            record.generated = last
            record.sent = record.generated if out is not None and text else record.sent
        return len(work.plan) != trip or await self._struck(work, out)

    async def _said(self, frames: Frames | None, out: Out | None, text: str, number: int) -> None:
        """Send a chunk; a server that freezes stops in the middle of it."""
        if frames is None or out is None:
            await self.conduct.moving()
            return
        frame = frames.token(text, number) if text else b""
        if self.conduct.frozen:
            half = len(frame) // 2
            await out.write(frame[:half])
            await self.conduct.moving()
            frame = frame[half:]
        await out.write(frame)

    async def _struck(self, work: Work, out: Out | None) -> bool:
        return work.entry is None or await self.strikes.amid(work.entry, work.request, out)
