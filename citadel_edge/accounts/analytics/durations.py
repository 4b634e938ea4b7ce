"""Histograms of durations that merge by addition, and the percentiles read from them. Pure.

Decides what a lane stands for. A histogram is one long decimal number in PostgreSQL: each lane of twelve digits counts
the durations of up to 0.1 ms x 1.04^n, so that a sum of histograms is the histogram of them all. Lanes grow by 4 %: a
percentile is at most 2 % off, from 0.1 ms to an hour; what is shorter or longer counts as that. (Masson, Rim, Lee:
DDSketch, VLDB 2019, with fixed lanes.)
"""

import math
import struct
from itertools import accumulate
from typing import Final

RELATIVE_ERROR: Final = 0.02
SHORTEST_MS: Final = 0.1
_GROWTH: Final = 1.04
_LONGEST_MS: Final = 3_600_000.0
_LANES: Final = math.ceil(math.log(_LONGEST_MS / SHORTEST_MS) / math.log(_GROWTH)) + 1
_MIDDLES_MS: Final = (SHORTEST_MS, *(2 * SHORTEST_MS * _GROWTH**lane / (1 + _GROWTH) for lane in range(1, _LANES)))
_GROUPS: Final = 3
"""PostgreSQL's digits are groups of four: so many make a lane."""
_HEAD: Final = struct.Struct(">hhHH")
_BASE: Final = 10_000


class Durations:
    """How often which durations came: a number in PostgreSQL's binary form (`numeric_send`), read when asked."""

    __slots__ = ("_sent",)

    def __init__(self, sent: bytes) -> None:
        self._sent = sent

    def percentiles(self, *shares: float) -> tuple[float | None, ...]:
        """For each share (0.95 is the 95th percentile) the duration in ms that this share does not exceed.

        None where there are no durations.
        """
        lanes = _lanes(self._sent)
        ranks = list(accumulate(count for _, count in lanes))
        if not ranks:
            return (None,) * len(shares)
        return tuple(_at(lanes, ranks, share) for share in shares)


EMPTY: Final = Durations(_HEAD.pack(0, 0, 0, 0))


def _at(lanes: list[tuple[int, int]], ranks: list[int], share: float) -> float:
    wanted = max(1, math.ceil(share * ranks[-1]))
    place = next(place for place, rank in enumerate(ranks) if rank >= wanted)
    return _MIDDLES_MS[min(lanes[place][0], _LANES - 1)]


def _lanes(sent: bytes) -> list[tuple[int, int]]:
    """Lanes that have counted something, and how much; shortest durations first."""
    size, weight, _, _ = _HEAD.unpack_from(sent)
    if not size:
        return []
    digits = struct.unpack_from(f">{size}H", sent, _HEAD.size)
    ahead = -(weight + 1) % _GROUPS
    behind = -(ahead + size) % _GROUPS
    padded = (0,) * ahead + digits + (0,) * behind
    top = (weight + ahead) // _GROUPS
    counts = zip(padded[::_GROUPS], padded[1::_GROUPS], padded[2::_GROUPS], strict=True)
    found = [
        (top - place, (high * _BASE + middle) * _BASE + low)
        for place, (high, middle, low) in enumerate(counts)
        if high or middle or low
    ]
    found.reverse()
    return found
