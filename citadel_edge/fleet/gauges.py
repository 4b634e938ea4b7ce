"""What an engine says of its own load, and how much of that is still worth believing.

Decides how fast a scraped reading loses weight: by half every five seconds since it was read, and also since it last
*changed* while the replica was given or gave back work: a gauge that does not follow the work is stuck, whatever it
says and however often it is read. So a replica stuck at 99 % of its cache, or at zero, is soon judged by what we know
ourselves (vllm#29928). Refuses to know how a reading is got: that is the dialects'.
"""

from dataclasses import dataclass
from math import exp2
from typing import Final

HALF_LIFE_S: Final = 5.0
KV_TIGHT: Final = 0.8


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at an engine: requests running and waiting there, and the share of its KV cache in use (0 to 1)."""

    running: int
    waiting: int
    kv: float | None = None
    sleeping: bool = False


class Gauges:
    """One replica's last reading.

    Attributes:
        reading: None before the first.
        read_at, changed_at: monotonic seconds.
    """

    __slots__ = ("_stuck_since", "changed_at", "own_in_flight", "read_at", "reading")

    def __init__(self) -> None:
        self.reading: Reading | None = None
        self.read_at = float("-inf")
        self.changed_at = float("-inf")
        self.own_in_flight = 0
        self._stuck_since: float | None = None

    def read(self, reading: Reading, *, now: float, own_in_flight: int) -> None:
        """Note a reading, and how many requests of ours were there at that moment."""
        if reading != self.reading:
            self.changed_at = now
            self._stuck_since = None
        self.reading, self.read_at, self.own_in_flight = reading, now, own_in_flight

    def worked(self, now: float) -> None:
        """The replica was given work, or gave some back: its gauges should move."""
        if self._stuck_since is None:
            self._stuck_since = now

    def weight(self, now: float) -> float:
        """How far the reading is believed: 1 when fresh, then half of it every `HALF_LIFE_S`."""
        if self.reading is None:
            return 0.0
        since = self.read_at if self._stuck_since is None else min(self.read_at, self._stuck_since)
        return exp2(min(0.0, since - now) / HALF_LIFE_S)

    def foreign(self, now: float, own_in_flight: int) -> float:
        """Requests there that are not ours, as far as believed. `own_in_flight`: ours now, when none was noted."""
        if self.reading is None:
            return 0.0
        return max(0, self.reading.running + self.reading.waiting - own_in_flight) * self.weight(now)

    def pressure(self, now: float) -> float:
        """1.0 while the KV cache has room, up to 2.0 when it is full, as far as believed."""
        if self.reading is None or self.reading.kv is None or self.reading.kv <= KV_TIGHT:
            return 1.0
        return 1.0 + (min(1.0, self.reading.kv) - KV_TIGHT) / (1.0 - KV_TIGHT) * self.weight(now)
