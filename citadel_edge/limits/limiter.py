"""The limiter: one question before a request, one settlement after it.

Decides nothing about limits itself: what counts is `plan`'s, whether it fits the script's (or, while Redis is away, its
twin's). Decides who is asked, how long, and that what was taken is given back once. Never fails because of Redis.
"""

from collections.abc import Awaitable, Callable

from structlog.typing import FilteringBoundLogger

from citadel_edge.accounts.entitlement import Entitlement
from citadel_edge.limits.claims import Claim, Decision, LimiterState, Reservation
from citadel_edge.limits.metrics import LimitsMetrics
from citadel_edge.limits.plan import Who
from citadel_edge.limits.values import Ended, Spent
from citadel_edge.storage.instances import Instances
from citadel_edge.storage.redis_pool import RedisPool
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.hub import Hub

LedgerUsage = Callable[[str, str | None, int], Awaitable[Spent]]
"""What the ledger says was spent since a time: `(organisation_id, user_id or null for all of it, since_ms)`."""


class Limiter:
    """Reserve, settle, look. Belongs to one event loop; `run` is its worker and must be running.

    Attributes:
        degraded: whether it decides without Redis now.
    """

    def __init__(
        self,
        redis: RedisPool,
        *,
        deadline_s: float,
        instances: Instances,
        clock: Clock,
        hub: Hub,
        log: FilteringBoundLogger,
        metrics: LimitsMetrics,
        ledger_usage: LedgerUsage | None = None,
        clustered: bool = False,
    ) -> None:
        raise NotImplementedError

    @property
    def degraded(self) -> bool:
        """Whether it decides without Redis now."""
        raise NotImplementedError

    async def reserve(self, claim: Claim) -> Decision:
        """Take what the claim asks for, or say why not. At most one round trip, within the deadline; never raises.

        A claim that is not `held` is reserved although nothing limits the caller, so that it can be settled by its id.
        """
        raise NotImplementedError

    async def look(self, claim: Claim) -> Decision:
        """As `reserve`, taking nothing."""
        raise NotImplementedError

    def smallest(self, who: Who) -> int | None:
        """The most tokens that one request may ever ask for; null is no limit. Known at once."""
        raise NotImplementedError

    def too_large(self, claim: Claim) -> bool:
        """Whether it asks for more tokens than it could ever be granted, as far as is known at once."""
        raise NotImplementedError

    def remaining_usd(self, organisation_id: str, user_id: str, entitlement: Entitlement) -> float | None:
        """Dollars that are left this month, as last known; null is no limit."""
        raise NotImplementedError

    def settle(self, reservation: Reservation, spent: Spent, model: str = "") -> None:
        """What it took in the end, served by `model`; the difference is given back or taken. Twice is once.

        Never waits: it is sent with others of this turn of the loop, and again after an outage.
        """
        raise NotImplementedError

    def release(self, reservation: Reservation) -> None:
        """Give back all of it."""
        raise NotImplementedError

    async def settle_id(self, reservation_id: str, spent: Spent, model: str = "") -> Ended | None:
        """Settle by id alone; null: accepted, and carried out when Redis is back.

        Raises:
            RequestError: NOT_FOUND, nobody knows it or it has ended.
        """
        raise NotImplementedError

    async def meta_of(self, reservation_id: str) -> bytes:
        """The claim's `meta`, for whoever has to know it before settling: one's own from memory, others' from Redis.

        Raises:
            RequestError: NOT_FOUND, nobody knows it or it has ended.
            RedisUnavailable: it is not ours, and Redis does not answer.
        """
        raise NotImplementedError

    async def release_id(self, reservation_id: str) -> Ended | None:
        """Give back all of it; as `settle_id`."""
        raise NotImplementedError

    async def renew_id(self, reservation_id: str, ttl_s: float, kept: Spent | None = None) -> None:
        """Let it live `ttl_s` from now.

        Raises:
            RequestError: NOT_FOUND, nobody knows it or it has ended; OVERLOADED, Redis is away and it is not ours.
        """
        raise NotImplementedError

    def state(self) -> LimiterState:
        """A glance for health."""
        raise NotImplementedError

    async def run(self) -> None:
        """Renew, settle, sweep, come back from outages; when cancelled, what is left to settle is sent within 1 s."""
        raise NotImplementedError
