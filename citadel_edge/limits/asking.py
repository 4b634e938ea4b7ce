"""One question to Redis within the deadline: plan, ask, and once more if the server's clock is not what was thought.

Decides how long anybody waits, and that no order is carried out later than that. Refuses to know what happens without
an answer.
"""

from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from citadel_edge.errors import RedisUnavailable
from citadel_edge.limits.claims import Claim
from citadel_edge.limits.lifeline import Lifeline
from citadel_edge.limits.plan import Plans
from citadel_edge.limits.server_time import ServerTime
from citadel_edge.limits.values import Answer, Order, Verdict
from citadel_edge.storage.patience import patience
from citadel_edge.telemetry.clock import Clock

Ask = Callable[[Order], Awaitable[Answer]]


class Asking:
    """Questions about claims."""

    def __init__(
        self,
        *,
        plans: Plans,
        lifeline: Lifeline,
        time: ServerTime,
        clock: Clock,
        deadline_s: float,
    ) -> None:
        self.deadline_s = deadline_s
        self._plans = plans
        self._lifeline = lifeline
        self._time = time
        self._clock = clock

    async def ask(self, ask: Ask, claim: Claim, order: Order) -> tuple[Order, Answer]:
        """As `look`, and how it went counts for whether Redis is asked at all.

        Raises:
            RedisUnavailable: it has not answered; what became of the order is unknown until the deadline has passed.
        """
        try:
            answered = await self.look(ask, claim, order)
        except RedisUnavailable as error:
            self._lifeline.failed(self._clock.monotonic_s(), error)
            raise
        self._lifeline.answered(self._clock.monotonic_s())
        return answered

    async def look(self, ask: Ask, claim: Claim, order: Order) -> tuple[Order, Answer]:
        """The order as it was asked in the end, and the answer, which is not STALE.

        Raises:
            RedisUnavailable: see `ask`.
        """
        try:
            async with patience(self.deadline_s):
                asked_s = self._clock.monotonic_s()
                answer = await ask(order)
                self._time.learn(asked_s, answer.now_ms)
                if answer.verdict is not Verdict.STALE:
                    return order, answer
                order = self._anew(claim, order, asked_s)
                answer = await ask(order)
        except TimeoutError:
            raise RedisUnavailable(f"Redis did not decide within {self.deadline_s * 1000:g} ms") from None
        if answer.verdict is Verdict.STALE:
            raise RedisUnavailable("Redis's clock steps: the limits' periods cannot be agreed upon")
        return order, answer

    def _anew(self, claim: Claim, order: Order, asked_s: float) -> Order:
        """With the server's time as it is now known."""
        plan = claim.plan(self._plans, self._time.now_ms())
        return replace(order, dimensions=plan, not_after_ms=self._time.at_ms(asked_s + self.deadline_s))
