"""Pauses between attempts."""


class Backoff:
    """Pauses that double up to a bound, and start anew after a success."""

    def __init__(self, first_s: float, last_s: float) -> None:
        self._first_s, self._last_s = first_s, last_s
        self._next_s = first_s

    def reset(self) -> None:
        """An attempt succeeded: the next pause is the first one again."""
        self._next_s = self._first_s

    def next_s(self) -> float:
        """How long to wait before the next attempt, in seconds."""
        pause, self._next_s = self._next_s, min(self._next_s * 2, self._last_s)
        return pause
