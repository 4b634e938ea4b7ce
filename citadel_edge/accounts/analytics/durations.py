"""Histograms of durations that merge by addition, and the percentiles read from them. Pure.

Decides what a lane stands for. A histogram is one long decimal number in PostgreSQL: each lane of twelve digits counts
the durations of up to 0.1 ms x 1.04^n, so that a sum of histograms is the histogram of them all. Lanes grow by 4 %: a
percentile is at most 2 % off, from 0.1 ms to an hour; what is shorter or longer counts as that. (Masson, Rim, Lee:
DDSketch, VLDB 2019, with fixed lanes.)
"""

import math
import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Sequence
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
_DIGIT: Final = 2
_BASE: Final = 10_000
_NOUGHT: Final = b"\0"


class Durations:
    """How often which durations came: a number in PostgreSQL's binary form (`numeric_send`), read when asked."""

    __slots__ = ("_sent",)

    def __init__(self, sent: bytes) -> None:
        self._sent = sent

    def percentiles(self, *shares: float) -> tuple[float | None, ...]:
        """For each share (0.95 is the 95th percentile) the duration in ms that this share does not exceed.

        None where there are no durations.
        """
        lowest, counts = _lanes(self._sent)
        ranks = list(accumulate(counts))
        if not ranks:
            return (None,) * len(shares)
        wanted = (max(1, math.ceil(share * ranks[-1])) for share in shares)
        return tuple(_MIDDLES_MS[min(lowest + bisect_left(ranks, rank), _LANES - 1)] for rank in wanted)


EMPTY: Final = Durations(_HEAD.pack(0, 0, 0, 0))


def _lanes(sent: bytes) -> tuple[int, Sequence[int]]:
    """The number of a lane, and how much it and those after it have counted. Few counts are more than one digit."""
    size, weight, _, _ = _HEAD.unpack_from(sent)
    if not size:
        return 0, ()
    ahead = -(weight + 1) % _GROUPS
    behind = -(ahead + size) % _GROUPS
    digits = array("H", bytes(_DIGIT * ahead) + sent[_HEAD.size : _HEAD.size + _DIGIT * size] + bytes(_DIGIT * behind))
    if sys.byteorder == "little":
        digits.byteswap()
    digits.reverse()
    low, middle, high = digits[::_GROUPS], digits[1::_GROUPS], digits[2::_GROUPS]
    lowest = (weight + ahead) // _GROUPS - len(low) + 1
    if middle.tobytes().strip(_NOUGHT) or high.tobytes().strip(_NOUGHT):
        return lowest, [
            low + _BASE * (middle + _BASE * high) for low, middle, high in zip(low, middle, high, strict=True)
        ]
    return lowest, low
