"""What the limiter shows: `citadel_limits_*`, by tier and limit, never by user. Children are bound once and kept."""

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_MOST_TIERS: Final = 100
OTHER: Final = "other"


class LimitsMetrics:
    """One object for one limiter. What is read when it is scraped is given by `follow`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._checks = Counter(
            "citadel_limits_checks",
            "Claims decided: allowed, or why not and by which limit.",
            ["tier", "dimension", "outcome"],
            registry=registry,
        )
        self._seconds = Histogram(
            "citadel_limits_check_seconds", "Time that a claim waited.", buckets=_SECONDS, registry=registry
        )
        self._reserved = Counter(
            "citadel_limits_reserved_tokens", "Tokens taken before the requests.", ["tier"], registry=registry
        )
        self._settled = Counter(
            "citadel_limits_settled_tokens", "Tokens that the requests took in the end.", ["tier"], registry=registry
        )
        self._degraded = Gauge("citadel_limits_degraded", "1 while it decides without Redis.", registry=registry)
        self._degraded_seconds = Counter(
            "citadel_limits_degraded_seconds", "Time without Redis, of outages that are over.", registry=registry
        )
        self._queue = Gauge("citadel_limits_settlements_waiting", "Not yet taken by Redis.", registry=registry)
        self._open = Gauge("citadel_limits_reservations", "Reservations of this instance.", registry=registry)
        self.denied_at_once = Counter(
            "citadel_limits_denied_at_once", "Denials known without asking Redis.", registry=registry
        )
        self.failures = Counter("citadel_limits_redis_failures", "Questions without an answer.", registry=registry)
        self.lost = Counter(
            "citadel_limits_settlements_lost",
            "Too many waited, Redis failed or knew nothing.",
            registry=registry,
        )
        self.swept = Counter("citadel_limits_swept", "Reservations ended for owners that died.", registry=registry)
        self.adopted = Counter(
            "citadel_limits_adopted", "Reservations that Redis was told of again or late.", registry=registry
        )
        self.restored = Counter(
            "citadel_limits_restored", "Quotas whose use was restored from the ledger.", registry=registry
        )
        self.servers_changed = Counter(
            "citadel_limits_redis_changed", "Times that another Redis process answered.", registry=registry
        )
        self.lost_to_redis = Counter(
            "citadel_limits_redis_lost_at_most",
            "Answered writes that another Redis process may have missed, at most, where that is known.",
            registry=registry,
        )
        self._check_children: dict[tuple[str, str, str], Counter] = {}
        self._token_children: dict[str, tuple[Counter, Counter]] = {}
        self._tiers: set[str] = set()

    def follow(
        self, *, degraded: Callable[[], bool], queue: Callable[[], int], reservations: Callable[[], int]
    ) -> None:
        """Read these when somebody looks."""
        self._degraded.set_function(lambda: float(degraded()))
        self._queue.set_function(lambda: float(queue()))
        self._open.set_function(lambda: float(reservations()))

    def decided(self, tier: str, dimension: str, outcome: str, seconds: float) -> None:
        """One claim more."""
        child = self._check_children.get((tier, dimension, outcome))
        if child is None:
            key = self._label(tier), dimension, outcome
            child = self._check_children[key] = self._checks.labels(*key)
        child.inc()
        self._seconds.observe(seconds)

    def reserved(self, tier: str, tokens: int) -> None:
        """So many tokens were taken."""
        self._of(tier)[0].inc(tokens)

    def settled(self, tier: str, tokens: int) -> None:
        """So many were used in the end."""
        self._of(tier)[1].inc(tokens)

    def degraded_for(self, seconds: float) -> None:
        """An outage is over."""
        self._degraded_seconds.inc(seconds)

    def _of(self, tier: str) -> tuple[Counter, Counter]:
        known = self._token_children.get(tier)
        if known is None:
            label = self._label(tier)
            known = self._token_children[label] = self._reserved.labels(label), self._settled.labels(label)
        return known

    def _label(self, tier: str) -> str:
        """The tier; of too many, those that came last share one series."""
        if len(self._tiers) < _MOST_TIERS:
            self._tiers.add(tier)
        return tier if tier in self._tiers else OTHER
