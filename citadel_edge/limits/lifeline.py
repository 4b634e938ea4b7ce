"""Whether Redis is asked at all: a breaker over the questions of late. A state machine and nothing else.

It stops asking when half of at least twenty questions within five seconds had no answer in time, or when whoever
looked after one such found the server away; and asks again when that one says so. A question that failed because of
what it was about says nothing of the others. Refuses to look itself.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Final

from citadel_edge.errors import RedisUnavailable
from citadel_edge.limits.redis_store import ScriptFailed

WINDOW_S: Final = 5
LEAST_CALLS: Final = 20
COOL_S: Final = 1.0
"""After so many failures the server is left alone for so long."""
TOLD_S: Final = 5.0
"""So long after an outage all instances are taken to have told Redis what they granted without it."""


class Lifeline:
    """The way to Redis.

    Attributes:
        serves: it is asked.
        serving: the same, to be waited for.
        trouble: a question had no answer, or something is to be handed over: somebody has to look.
        away_since_s, reason: since when (monotonic) it is not asked, and why.
        back_s: when it was asked again.
    """

    def __init__(
        self,
        *,
        on_failed: Callable[[], None],
        on_failed_alone: Callable[[str], None],
        on_away: Callable[[str], None],
        on_back: Callable[[float], None],
    ) -> None:
        self._on_failed = on_failed
        self._on_failed_alone = on_failed_alone
        self._on_away = on_away
        self._on_back = on_back
        self.serves = True
        self.serving = asyncio.Event()
        self.serving.set()
        self.trouble = asyncio.Event()
        self.away_since_s = 0.0
        self.back_s = -math.inf
        self.reason = ""
        self.cool_until_s = 0.0
        self._good = [0] * WINDOW_S
        self._bad = [0] * WINDOW_S
        self._second = 0

    def answered(self, now_s: float) -> None:
        """A question was answered in time."""
        self._good[self._slot(now_s)] += 1

    def failed(self, now_s: float, error: RedisUnavailable) -> bool:
        """One was not; if it was one too many, it is not asked from now on. True: that one alone cannot be answered."""
        if isinstance(error, ScriptFailed):
            self._on_failed_alone(str(error))
            return True
        self._bad[self._slot(now_s)] += 1
        self.trouble.set()
        self._on_failed()
        bad, good = sum(self._bad), sum(self._good)
        if self.serves and bad + good >= LEAST_CALLS and bad >= good:
            self.cool_until_s = now_s + COOL_S
            self.lose(now_s, str(error))
        return False

    def lose(self, now_s: float, reason: str) -> None:
        """It is away."""
        self.reason = reason
        if self.serves:
            self.serves, self.away_since_s = False, now_s
            self.serving.clear()
            self._on_away(reason)

    def regain(self, now_s: float) -> None:
        """It is asked again."""
        if not self.serves:
            self._good, self._bad = [0] * WINDOW_S, [0] * WINDOW_S
            self.serves, self.reason, self.back_s = True, "", now_s
            self.serving.set()
            self._on_back(now_s - self.away_since_s)

    def _slot(self, now_s: float) -> int:
        second = int(now_s)
        if second != self._second:
            for each in range(max(self._second + 1, second - WINDOW_S + 1), second + 1):
                self._good[each % WINDOW_S] = self._bad[each % WINDOW_S] = 0
            self._second = second
        return second % WINDOW_S
