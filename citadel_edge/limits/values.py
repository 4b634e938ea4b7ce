"""The words that all of this room speaks: limits of one request, what it takes, and how it was decided. Values only.

Units are whole numbers everywhere, so that Redis's script and Python agree to the last digit: requests, tokens,
leases, and billionths of a US dollar (nano-USD). Times are milliseconds since 1970 by the Redis server's clock.
"""

from decimal import ROUND_CEILING, Decimal
from enum import Enum, StrEnum
from typing import Final

from msgspec import Struct

MINUTE_MS: Final = 60_000
NANO: Final = 10**9
"""Billionths in a dollar."""
MOST: Final = 10**10
"""The largest limit that is told apart: with it every product stays below 2**53, exact in Lua's numbers too."""
MOST_NANO_USD: Final = 4 * 10**15
"""The same of dollars, and where they are no longer counted: two of them can be added."""


class LimitName(StrEnum):
    """The public names of limits."""

    REQUESTS_PER_MINUTE = "requests_per_minute"
    TOKENS_PER_MINUTE = "tokens_per_minute"
    CONCURRENT = "concurrent"
    TOKENS_PER_DAY = "tokens_per_day"
    TOKENS_PER_MONTH = "tokens_per_month"
    USD_PER_MONTH = "usd_per_month"


class Kind(Enum):
    """How a limit counts: a bucket that drains, leases that are held, or a counter that begins anew with its period."""

    RATE = "r"
    LEASES = "l"
    CALENDAR = "c"


class Unit(Enum):
    """What a limit counts."""

    REQUESTS = "q"
    TOKENS = "t"
    NANO_USD = "u"


KINDS: Final = {
    LimitName.REQUESTS_PER_MINUTE: (Kind.RATE, Unit.REQUESTS),
    LimitName.TOKENS_PER_MINUTE: (Kind.RATE, Unit.TOKENS),
    LimitName.CONCURRENT: (Kind.LEASES, Unit.REQUESTS),
    LimitName.TOKENS_PER_DAY: (Kind.CALENDAR, Unit.TOKENS),
    LimitName.TOKENS_PER_MONTH: (Kind.CALENDAR, Unit.TOKENS),
    LimitName.USD_PER_MONTH: (Kind.CALENDAR, Unit.NANO_USD),
}


class Spent(Struct, frozen=True, gc=False):
    """What a request takes of its limits."""

    requests: int = 1
    tokens: int = 0
    nano_usd: int = 0

    def of(self, unit: Unit) -> int:
        """So many of this unit."""
        if unit is Unit.TOKENS:
            return self.tokens
        return self.requests if unit is Unit.REQUESTS else self.nano_usd


NOTHING: Final = Spent(0, 0, 0)


def nano_of(usd: Decimal) -> int:
    """Billionths of a dollar, rounded up: nothing that costs is free."""
    return int((usd * NANO).to_integral_value(ROUND_CEILING))


class Period(Struct, frozen=True, gc=False):
    """A day (`2026-11-23`) or a month (`2026-11`) in an organisation's time zone, from `start_ms` until `end_ms`."""

    id: str
    start_ms: int
    end_ms: int


class Dimension(Struct, frozen=True, kw_only=True):
    """One limit that a request is held against.

    Attributes:
        subject: whose it is, as the last part of its key: `u:usr_1`, `o`, and behind either `:m:<model>` or
            `:e:<endpoint>` where the limit is for that alone.
        limit: units a minute, at once, or in the period; 0 allows nothing.
        burst: RATE: units that the bucket holds, at least 1 of requests.
        period: CALENDAR: the present one.
        extra, lapsed: CALENDAR: units of all top-ups that count now, and of those whose time is over.
        lapsing: CALENDAR: of `extra`, units whose time is over when the period ends, or before.
        model: the model that the limit is for alone; a request served by another takes nothing of it.
    """

    subject: str
    name: LimitName
    limit: int
    burst: int = 0
    period: Period | None = None
    extra: int = 0
    lapsed: int = 0
    lapsing: int = 0
    model: str = ""

    @property
    def kind(self) -> Kind:
        """How it counts."""
        return KINDS[self.name][0]

    @property
    def unit(self) -> Unit:
        """What it counts."""
        return KINDS[self.name][1]

    @property
    def counts_tokens(self) -> bool:
        """Whether tokens are what it counts."""
        return self.unit is Unit.TOKENS


class Order(Struct, frozen=True, kw_only=True):
    """A reservation that is asked for.

    Attributes:
        reservation: its id, made by whoever asks: the same order twice is one reservation.
        cost: what is taken now.
        kept: of it, what stays taken if nobody settles before `ttl_ms` is over.
        ttl_ms: how long it (and its leases) live without being renewed; 0: final, it is taken at once and for good.
        leases: whether it takes leases of the limits of kind LEASES; without, these are left out.
        force: take it whatever the limits say.
        held: whoever made it ends it and lets it live on; nobody does by its id.
        not_after_ms: not carried out when it arrives later than this; 0 is never.
        meta: handed back by the one settlement, for whoever settles by id alone.
    """

    reservation: str
    organisation_id: str
    dimensions: tuple[Dimension, ...]
    cost: Spent
    kept: Spent = NOTHING
    ttl_ms: int = 30_000
    leases: bool = True
    force: bool = False
    held: bool = False
    not_after_ms: int = 0
    meta: bytes = b""


class Verdict(Enum):
    """What became of an order. STALE: it came too late, or its periods are not the present ones; nothing was done."""

    ADMITTED = 1
    DENIED = 0
    STALE = -1


class Level(Struct, frozen=True, gc=False):
    """How full one limit is after the decision.

    Attributes:
        amount: RATE: the bucket's backlog in unit-milliseconds (units times 60,000, drained by `limit` a millisecond);
            LEASES: leases held, this request's included; CALENDAR: units used in the period.
        taken: CALENDAR: units of the top-ups that count now which earlier periods used up; below 0: so many units of
            this period's use were of top-ups that have ended since.
    """

    amount: int
    taken: int = 0


class Answer(Struct, frozen=True):
    """What the store says. `levels` are the order's dimensions in its order; empty when it is STALE."""

    verdict: Verdict
    now_ms: int
    levels: tuple[Level, ...] = ()


class Ended(Struct, frozen=True):
    """A reservation that was settled. `late`: it had expired and stood at what it kept until now."""

    late: bool
    meta: bytes = b""


class Standing(Struct, frozen=True, kw_only=True, gc=False):
    """One limit as a client is told of it.

    Attributes:
        scope: `user` or `organisation`, and behind it the model or endpoint that it is for alone.
        limit, remaining: in the limit's own unit (USD as a number of dollars); `remaining` is what one request would be
            granted now.
        reset_s: until it is wholly free again; of leases 0.
        denied: it is the reason of a denial; `retry_after_s`: then the same request may be granted.
    """

    name: LimitName
    scope: str
    limit: int | float
    remaining: int | float
    reset_s: float
    denied: bool = False
    retry_after_s: float | None = None
