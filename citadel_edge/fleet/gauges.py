"""What an engine says of its own load, and how much of that is still worth believing.

Decides how a scraped reading loses weight. A gauge that stands still is stuck, whatever it says and however often it is
read. The count of requests is worth nothing ten seconds after it last *changed*: no engine at work serves as many for
ever, and a replica that seems full would get no work to prove it wrong. The share of the cache loses half every five
seconds since the first work after it last changed, for an idle engine keeps what it holds. So a replica stuck
at 99 % is soon judged by what we know ourselves (vllm#29928), and one stuck at zero attracts nobody, because a reading
only ever adds to our own count. Requests and cache are believed apart: one may be stuck while the other moves.

Refuses to know how a reading is got: that is the dialects'. Times are monotonic seconds.
"""

import math
from math import exp2
from typing import Final

from msgspec import Struct

HALF_LIFE_S: Final = 5.0
STUCK_S: Final = 10.0
KV_TIGHT: Final = 0.8  # vLLM preempts when it is full; above this, the next long prompt may do it


class Reading(Struct, frozen=True, gc=False):
    """One look at an engine: requests running and waiting there, and the share of its KV cache in use.

    Attributes:
        running, waiting: everybody's, at least 0.
        kv: 0 to 1, None where the engine does not tell.
    """

    running: int
    waiting: int
    kv: float | None = None


class Gauges:
    """One replica's last reading.

    Attributes:
        reading: None before the first.
        adds: whether it tells of more than we know ourselves; else there are no others, and no pressure.
        read_at: when it was read.
        changed_at: when it last differed from the one before.
    """

    __slots__ = ("_foreign", "_idle", "_kv_since", "_load_since", "_tight", "adds", "changed_at", "read_at", "reading")

    def __init__(self) -> None:
        self.reading: Reading | None = None
        self.adds = False
        self.read_at = self.changed_at = -math.inf
        self._foreign = self._tight = 0.0
        self._load_since = math.inf  # its last change
        self._kv_since = math.inf  # the first work since its last change; none: inf
        self._idle = False  # no work was noted since the last reading

    def read(self, reading: Reading, *, now: float, own_in_flight: int, places: float = math.inf) -> None:
        """Note a reading, and how many requests of ours were there at that moment.

        More than its `places` of others' requests are believed of no replica: what waits there is no news.
        """
        old, self.reading = self.reading, reading
        if old is None or (old.running, old.waiting) != (reading.running, reading.waiting):
            self._load_since = self.changed_at = now
        if old is None or old.kv != reading.kv:
            self._kv_since, self.changed_at = math.inf, now
        self.read_at = now
        self._idle = True
        self._foreign = float(min(places, max(0, reading.running + reading.waiting - own_in_flight)))
        self._tight = max(0.0, min(1.0, reading.kv or 0.0) - KV_TIGHT) / (1.0 - KV_TIGHT)
        self.adds = bool(self._foreign or self._tight)

    def worked(self, now: float) -> None:
        """The replica was given work, or gave some back: its gauges should move."""
        if self._idle:
            self._idle = False
            self._kv_since = min(self._kv_since, now)

    def foreign(self, now: float, own_in_flight: int = 0) -> float:  # noqa: ARG002 - those at the reading count
        """Requests there that are not ours, as far as believed: those read, less our own of that moment."""
        if not self._foreign:
            return 0.0
        part = 1.0 - (now - self._since(self._load_since)) / STUCK_S
        if part <= 0.0:
            return 0.0
        return self._foreign * part if part < 1.0 else self._foreign

    def pressure(self, now: float) -> float:
        """1.0 while the KV cache has room, up to 2.0 when it is full, as far as believed."""
        if not self._tight:
            return 1.0
        still_s = now - self._since(self._kv_since)
        return 1.0 + self._tight * exp2(-still_s / HALF_LIFE_S) if still_s > 0.0 else 1.0 + self._tight

    def _since(self, changed_at: float) -> float:
        read_at = self.read_at
        return changed_at if changed_at < read_at else read_at  # noqa: FURB136 - a third of what min() costs
