"""What may be asked of usage, and what is answered. Values.

Decides what a question may hold. Refuses to know who may ask it: whoever does, sets `user_id` or `organisation_id`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple

from citadel_edge.accounts.analytics.buckets import Bucket
from citadel_edge.accounts.analytics.columns import HISTOGRAMS
from citadel_edge.accounts.analytics.dimensions import Dimension
from citadel_edge.accounts.analytics.durations import Durations
from citadel_edge.accounts.days import Span
from citadel_edge.accounts.desk import invalid

MOST_GROUPS: Final = 3
MOST_VALUES: Final = 200
"""In the filter of one dimension."""
MOST_TOP: Final = 100
MOST_ROWS: Final = 10_000


class Measure(StrEnum):
    """What groups are ranked by and rows are put in order by. TOKENS are those in and out."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    COST = "cost"
    ERRORS = "errors"
    DENIED = "denied"


@dataclass(frozen=True, slots=True, kw_only=True)
class Top:
    """Only so many groups (1 to 100), those with the most of a measure over the whole span.

    With `others` the rest is one more group in each bucket; without, it is left out of the rows but not of the totals.
    """

    count: int
    by: Measure
    others: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Rows by a measure, or (None) by time and then by their groups."""

    by: Measure | None = None
    descending: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What to sum, how to tell it apart.

    Attributes:
        span: from `since` until before `until`; buckets are those of its zone.
        bucket: of which length; NONE is one for the whole span.
        group_by: up to three dimensions, each once.
        filters: for a dimension the values that count, up to 200; an empty tuple lets nothing through.
        user_id: one user's rows alone.
        organisation_id: one organisation's rows alone.
        top: only the biggest groups.
        order: of the rows; what is equal goes by time and groups.
        fill: each group has a row in each bucket, of zeros if need be; without groups there is one a bucket.
        durations: which of `HISTOGRAMS` are wanted; they cost a good deal of the time.
        asker: the user who asks, who has one turn at a time.
    """

    span: Span
    bucket: Bucket = Bucket.NONE
    group_by: tuple[Dimension, ...] = ()
    filters: Mapping[Dimension, tuple[str, ...]] = field(default_factory=dict)
    user_id: str | None = None
    organisation_id: str | None = None
    top: Top | None = None
    order: Order = Order()
    fill: bool = False
    durations: tuple[str, ...] = HISTOGRAMS
    asker: str = ""

    def __post_init__(self) -> None:
        """Raise `RequestError` for what cannot be answered."""
        if len(self.group_by) > MOST_GROUPS or len(set(self.group_by)) < len(self.group_by):
            raise invalid(f"Expected at most {MOST_GROUPS} dimensions, each once.", "groupBy")
        if any(len(values) > MOST_VALUES for values in self.filters.values()):
            raise invalid(f"Expected at most {MOST_VALUES} values.", "filter")
        if any("\0" in value for values in self.filters.values() for value in values):
            raise invalid("A name holds no zero character.", "filter")
        if self.top is not None and not (self.group_by and 1 <= self.top.count <= MOST_TOP):
            raise invalid(f"Expected 1 to {MOST_TOP} of the groups, and something to group by.", "top")

    @property
    def conditions(self) -> list[tuple[Dimension, tuple[str, ...]]]:
        """All that must hold, visibility included: a dimension has one of the values."""
        own = ((Dimension.USER, self.user_id), (Dimension.ORGANISATION, self.organisation_id))
        return [*self.filters.items(), *((name, (value,)) for name, value in own if value is not None)]

    @property
    def dimensions(self) -> frozenset[Dimension]:
        """All that it needs told apart."""
        return frozenset(self.group_by).union(name for name, _ in self.conditions)


class Figures(NamedTuple):
    """What was used.

    Attributes:
        requests: those that were served; denied ones are not among them.
        errors: of the requests, those that failed or were cut off.
        denied: requests that limits refused.
        cost_usd: exact.
        latency: how long requests took; denied ones are not among them. Empty if not asked for.
        ttft: how long their first tokens took, of those that had one.
    """

    requests: int
    errors: int
    denied: int
    tokens_in: int
    tokens_out: int
    cost_usd: Decimal
    latency: Durations
    ttft: Durations


class Row(NamedTuple):
    """One group in one bucket.

    Attributes:
        bucket: when it begins, in the span's zone; the first may begin before the span. None if there is but one.
        group: values in the order asked for; None for an absent upstream, and for all values of the rest.
        others: whether this is the rest.
    """

    bucket: datetime | None
    group: tuple[str | None, ...]
    others: bool
    figures: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """All rows, and the figures of everything that the question covers. Both are of one moment.

    `buckets` are the beginnings of all buckets in order, whether or not there are rows of them.
    """

    rows: tuple[Row, ...]
    totals: Figures
    buckets: tuple[datetime, ...]
