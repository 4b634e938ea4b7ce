"""What callers of the limiter ask and are told. Values, and the one handle that they hold while a request runs."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from msgspec import Struct

from citadel_edge.limits.plan import Plans, Who, dimensions
from citadel_edge.limits.values import NOTHING, Dimension, LimitName, Order, Spent, Standing

ONE: Final = Spent(1)
"""A request of which nothing else is known."""


class Reason(Enum):
    """Why a claim is denied.

    RATE: too many or too much at a time (`rate_limit_exceeded`). QUOTA: a day's or month's is used up
    (`insufficient_quota`). TOO_LARGE: no wait helps, the request is larger than a limit (`request_too_large`).
    AWAY: it may not be granted without Redis, which is away (429 all the same).
    """

    NONE = "none"
    RATE = "rate"
    QUOTA = "quota"
    TOO_LARGE = "too_large"
    AWAY = "away"


class Part(Enum):
    """Which limits of the caller's plan a claim is about.

    ALL of them; those for its MODEL alone; the DOLLARS of those for all models. A request that goes on to another model
    has claimed all of one plan already, and claims of the other what comes on top.
    """

    ALL = "all"
    MODEL = "model"
    DOLLARS = "dollars"

    def of(self, plan: tuple[Dimension, ...]) -> tuple[Dimension, ...]:
        """This part of a plan."""
        if self is Part.ALL:
            return plan
        if self is Part.MODEL:
            return tuple(one for one in plan if one.model)
        return tuple(one for one in plan if one.name is LimitName.USD_PER_MONTH and not one.model)


class Claim(Struct, frozen=True, kw_only=True):
    """What a request wants to take.

    Attributes:
        part: of which limits.
        cost: what is taken now; `kept`: of it, what stays taken if this process dies before it settles.
        leases: whether it counts as a concurrent request.
        ttl_s: how long it lives without being renewed; of what is `held` at least 3, as it is looked at every second.
        held: renewed here until it is settled, and nobody's by its id; without, by `renew_id` or not at all.
        force: it was let in before: taken whatever the limits say, with Redis or without.
        meta: handed back by the settlement, for whoever settles by id alone.
        tier: the caller's, for metrics only.
        also: others whose limits are looked at together with the caller's: the same user on other models and endpoints.
    """

    who: Who
    part: Part = Part.ALL
    cost: Spent = ONE
    kept: Spent = NOTHING
    leases: bool = True
    ttl_s: float = 30.0
    held: bool = True
    force: bool = False
    meta: bytes = b""
    tier: str = ""
    also: tuple[Who, ...] = ()

    def plan(self, plans: Plans, now_ms: int) -> tuple[Dimension, ...]:
        """The limits that it is held against, each once."""
        own = self.part.of(plans.of(self.who, now_ms))
        if not self.also:
            return own
        others = (one for who in self.also for one in dimensions(who, now_ms))
        return tuple({(one.subject, one.name): one for one in (*own, *others)}.values())


class Bill(Protocol):
    """What a service asks a reservation to be settled for. It may be another instance's, and then wait for Redis."""

    def charge(self, meta: bytes) -> tuple[Spent, str]:
        """What was spent, and by which model, given what the claim carried.

        Raises:
            RequestError: NOT_FOUND, a service has nothing to do with what carries this.
        """

    def settled(self, meta: bytes) -> None:
        """It is ended with that charge; told once."""


class Home(Enum):
    """Who has a reservation on record: Redis, this process alone, or perhaps Redis, which did not answer in time."""

    REDIS = "redis"
    LOCAL = "local"
    UNCERTAIN = "uncertain"


class Reservation(Struct, eq=False, kw_only=True):
    """What was taken, until it is settled. Callers read it and may set `progress`; the limiter does the rest.

    Attributes:
        id: public; whoever knows it may settle it once.
        began_s, expires_s: monotonic seconds; at the latter it ends at what it kept, unless it is renewed.
        progress: what stays taken if this process dies now; asked at each renewal.
    """

    id: str
    order: Order
    began_s: float
    expires_s: float
    held: bool = True
    tier: str = ""
    home: Home = Home.REDIS
    settled: bool = False
    progress: Callable[[], Spent] | None = None

    @property
    def kept(self) -> Spent:
        """What stays taken if nobody settles it."""
        return self.order.kept if self.progress is None else self.progress()


class Decision(Struct, frozen=True, kw_only=True):
    """What became of a claim.

    Attributes:
        reservation: to be settled, once; null when it is denied, was only looked at, or nothing limits the caller.
        standings: every limit that counts, as it is after the decision.
        denied: the denying limit that denies longest.
        retry_after_s: then the same claim may be granted; null when it is granted, or never will be.
        degraded: it was made without Redis.
    """

    allowed: bool
    reservation: Reservation | None = None
    standings: tuple[Standing, ...] = ()
    denied: Standing | None = None
    reason: Reason = Reason.NONE
    retry_after_s: float | None = None
    degraded: bool = False


@dataclass(frozen=True, slots=True)
class LimiterState:
    """How the limiter is, for health: `degraded` while it decides without Redis; a sentence without secrets."""

    degraded: bool
    detail: str
