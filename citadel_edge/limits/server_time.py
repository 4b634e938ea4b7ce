"""What time it is on the Redis server, learned from its answers.

Decides only what the answers prove: the server's clock was at `now_ms` somewhere between a question and its answer.
The earliest time that all answers allow is taken, so that "not after" never means later than it should. Clocks drift
and step: an answer that contradicts the others replaces them.
"""

from citadel_edge.telemetry.clock import Clock


class ServerTime:
    """The server's clock; the machine's calendar until the first answer."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._least_ms = (clock.unix_s() - clock.monotonic_s()) * 1000
        self._most_ms = float("inf")
        self._known = False

    def now_ms(self) -> int:
        """Milliseconds since 1970, at most a round trip behind the server's."""
        return self.at_ms(self._clock.monotonic_s())

    def at_ms(self, monotonic_s: float) -> int:
        """The same for a time of our own clock."""
        return int(monotonic_s * 1000 + self._least_ms)

    def learn(self, asked_s: float, now_ms: int) -> None:
        """The server said `now_ms` to a question of `asked_s` (monotonic), just now."""
        least = now_ms - self._clock.monotonic_s() * 1000
        most = now_ms + 1 - asked_s * 1000
        if not self._known or least > self._most_ms or most < self._least_ms:
            self._known = True
            self._least_ms, self._most_ms = least, most
            return
        self._least_ms = max(self._least_ms, least)
        self._most_ms = min(self._most_ms, most)
