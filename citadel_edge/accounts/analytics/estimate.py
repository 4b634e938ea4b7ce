"""How large an answer will be, and how much is read for it, judged before anything is looked up. Pure.

Decides what is likely where only the ledger knows: how many models, users and so on have rows. Of several keys together
a hundred groups are taken to have some, however many would be possible.
"""

from collections.abc import Iterable, Mapping
from math import prod
from typing import Final

from citadel_edge.accounts.analytics.buckets import Bucket
from citadel_edge.accounts.analytics.dimensions import Dimension, grain_of
from citadel_edge.accounts.analytics.question import MOST_ROWS

LIKELY_GROUPS: Final = 100
_LIKELY: Final[Mapping[Dimension, int]] = {
    Dimension.ORGANISATION: 10,
    Dimension.USER: 100,
    Dimension.TIER: 4,
    Dimension.MODEL: 12,
    Dimension.UPSTREAM: 8,
    Dimension.ENDPOINT: 4,
    Dimension.LISTENER: 4,
    Dimension.OUTCOME: 5,
}
_A_DAY: Final[Mapping[Bucket, float]] = {
    Bucket.HOUR: 24.0,
    Bucket.DAY: 1.0,
    Bucket.WEEK: 1 / 7,
    Bucket.MONTH: 1 / 30,
    Bucket.NONE: 0.0,
}


def likely_rows(
    days: float, bucket: Bucket, group_by: Iterable[Dimension], filtered: Mapping[Dimension, int], top: int | None
) -> int:
    """How many rows an answer has, roughly: one for each bucket and group.

    `filtered`: how many values of a dimension count. `top`: how many groups at most, the rest as one among them.
    """
    sizes = (min(_LIKELY[name], filtered.get(name, LIKELY_GROUPS)) for name in group_by)
    groups = min(prod(sizes), LIKELY_GROUPS if top is None else top)
    return min(round((1 + days * _A_DAY[bucket]) * groups), MOST_ROWS)


def reads_ledger(bucket: Bucket, dimensions: Iterable[Dimension]) -> bool:
    """Whether each row is read, because no sums tell these dimensions apart in such buckets."""
    grain = grain_of(dimensions)
    return grain is None or (bucket is Bucket.HOUR and not grain.hours)
