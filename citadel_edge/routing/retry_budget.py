"""How many calls may be made again, so that retries help with a few failures and do not double a great one.

Finagle's retry budget (`RetryBudget` and `WindowedTokenBucket` there): each request pays a share of a retry in, each
retry takes one out, a reserve lets a quiet service retry at all, and what was paid in or taken out counts for `ttl_s`
seconds. So no such window sees more retries than `share` of its requests and `per_second * ttl_s`.

Decides by counting, in whole parts, so that no rounding adds up. Refuses to know the time: `now` is an argument, in
monotonic seconds. Memory is ten counts.
"""

from typing import Final

_SLOTS: Final = 10
_PARTS: Final = 1_000_000  # of one retry


class RetryBudget:
    """One budget, for all requests of a process or of one model.

    Args:
        share: retries for each request, at least 0; 0 leaves the reserve alone.
        per_second: retries for each second without any request.
        ttl_s: how long requests and retries count, in seconds.
    """

    __slots__ = ("_deposit", "_reserve", "_slot_s", "_sum", "_turn", "_window")

    def __init__(self, *, share: float = 0.2, per_second: float = 10.0, ttl_s: float = 10.0) -> None:
        if share < 0 or per_second < 0 or ttl_s <= 0:
            raise ValueError("a retry budget needs a share and a reserve of at least 0, and a positive ttl_s")
        self._deposit = round(share * _PARTS)
        self._reserve = round(per_second * ttl_s * _PARTS)
        self._slot_s = ttl_s / _SLOTS
        self._window = [0] * _SLOTS
        self._sum = 0
        self._turn = 0

    def deposit(self, now: float) -> None:
        """A request came: not a retry of one."""
        self._put(now, self._deposit)

    def withdraw(self, now: float) -> bool:
        """Whether a retry may be made now; then it is counted."""
        self._expire(now)
        if self._sum + self._reserve < _PARTS:
            return False
        self._put(now, -_PARTS)
        return True

    def balance(self, now: float) -> int:
        """How many retries could be made now."""
        self._expire(now)
        return max(0, (self._sum + self._reserve) // _PARTS)

    def _put(self, now: float, parts: int) -> None:
        self._window[self._expire(now) % _SLOTS] += parts
        self._sum += parts

    def _expire(self, now: float) -> int:
        """Empty the slots whose time is over; the number of the slot of now."""
        turn = int(now // self._slot_s)
        if turn > self._turn:
            for gone in range(max(self._turn, turn - _SLOTS) + 1, turn + 1):
                self._sum -= self._window[gone % _SLOTS]
                self._window[gone % _SLOTS] = 0
            self._turn = turn
        return self._turn
