"""What the limiter tells: its metrics, the hub's topic LIMITS, and the log.

Decides what is told how often: of a user's denials by one limit at most one a second on the hub, and none in the log.
"""

from typing import Final

from structlog.typing import FilteringBoundLogger

from citadel_edge.limits.claims import Claim, Decision, Reason
from citadel_edge.limits.losses import Loss
from citadel_edge.limits.metrics import LimitsMetrics
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.hub import Hub, Topic

_MOST_A_SECOND: Final = 10_000
_AGAIN_S: Final = 60.0
_LATELY_S: Final = 300.0


class News:
    """Told by the limiter's parts."""

    def __init__(self, *, hub: Hub, log: FilteringBoundLogger, metrics: LimitsMetrics, clock: Clock) -> None:
        self._hub = hub
        self._log = log
        self._metrics = metrics
        self._clock = clock
        self._second = 0
        self._restored_s = self._failed_s = -_AGAIN_S
        self._told: set[tuple[str, str]] = set()
        self._change: tuple[float, Loss] | None = None

    def decided(self, claim: Claim, decision: Decision, began_s: float) -> None:
        """One claim."""
        now_s = self._clock.monotonic_s()
        if decision.allowed:
            self._metrics.decided(claim.tier, "", "allowed", now_s - began_s)
            self._metrics.reserved(claim.tier, claim.cost.tokens)
            return
        limit = decision.denied.name.value if decision.denied is not None else ""
        self._metrics.decided(claim.tier, limit, decision.reason.value, now_s - began_s)
        self._tell_denial(claim, decision, limit, int(now_s))

    def settled(self, tier: str, tokens: int) -> None:
        """One reservation is over."""
        self._metrics.settled(tier, tokens)

    def away(self, reason: str, instances: int) -> None:
        """From now on it decides without Redis."""
        self._log.warning("limits are decided without Redis", reason=reason, instances=instances)
        self._hub.publish(Topic.LIMITS, {"event": "degraded", "degraded": True, "instances": instances})

    def back(self, seconds: float) -> None:
        """Redis decides again."""
        self._metrics.degraded_for(seconds)
        self._log.info("limits are decided by Redis again", after_s=round(seconds, 3))
        self._hub.publish(Topic.LIMITS, {"event": "degraded", "degraded": False, "seconds": round(seconds, 3)})

    def server_changed(self, adopted: int, loss: Loss) -> None:
        """Another process answers as Redis: restarted, or a replica that was promoted."""
        self._change = self._clock.monotonic_s(), loss
        self._metrics.servers_changed.inc()
        self._metrics.lost_to_redis.inc(loss.writes or 0)
        at_most = None if loss.of_the_last_s is None else round(loss.of_the_last_s, 3)
        told = {"reservations_told_again": adopted, "lost_at_most": loss.writes, "of_the_last_s": at_most}
        self._log.warning("another Redis server answers: what it was not told of in time is lost to the limits", **told)
        self._hub.publish(Topic.LIMITS, {"event": "redis_changed", **told})

    def lately(self) -> str:
        """A clause for health on the last change of servers; empty when that was minutes ago."""
        if self._change is None:
            return ""
        since_s, loss = self._clock.monotonic_s() - self._change[0], self._change[1]
        if since_s > _LATELY_S:
            return ""
        what = "any write" if loss.writes is None else f"some of the last {loss.writes} writes"
        return f"; another Redis server answers since {since_s:.0f} s ago and may have lost {what} of this instance"

    def swept(self, count: int) -> None:
        """Reservations were ended whose owners died."""
        self._metrics.swept.inc(count)
        self._log.info("reservations without an owner were ended", count=count)

    def failed_alone(self, reason: str) -> None:
        """Redis cannot carry out an order; said in the log once a minute."""
        self._metrics.failures.inc()
        now_s = self._clock.monotonic_s()
        if now_s - self._failed_s > _AGAIN_S:
            self._failed_s = now_s
            self._log.error("an organisation's keys on Redis are not what they should be", reason=reason)

    def restored(self) -> None:
        """A quota's use was read from the ledger; said in the log once a minute."""
        self._metrics.restored.inc()
        now_s = self._clock.monotonic_s()
        if now_s - self._restored_s > _AGAIN_S:
            self._restored_s = now_s
            self._log.warning("Redis knows less than the ledger: quotas are restored from there")

    def _tell_denial(self, claim: Claim, decision: Decision, limit: str, second: int) -> None:
        if second != self._second:
            self._second = second
            self._told.clear()
        key = claim.who.user_id, limit
        if key in self._told or len(self._told) >= _MOST_A_SECOND:
            return
        self._told.add(key)
        self._hub.publish_lazily(Topic.LIMITS, lambda: _denial(claim, decision, limit))


def _denial(claim: Claim, decision: Decision, limit: str) -> dict[str, object]:
    return {
        "event": "denied",
        "organisation_id": claim.who.organisation_id,
        "user_id": claim.who.user_id,
        "tier": claim.tier,
        "model": claim.who.model,
        "endpoint": claim.who.endpoint,
        "limit": limit or None,
        "reason": decision.reason.value,
        "retry_after_s": decision.retry_after_s,
        "degraded": decision.degraded or decision.reason is Reason.AWAY,
    }
