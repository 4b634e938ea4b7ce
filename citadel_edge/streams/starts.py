"""Starts that happen once, as far as this process knows: what holds while Redis is away, and saves it a question."""

from typing import Final

from citadel_edge.streams.faces import other_start
from citadel_edge.streams.names import digest_of
from citadel_edge.streams.store import ONCE_MS
from citadel_edge.streams.values import Once
from citadel_edge.telemetry.clock import Clock

MOST: Final = 10_000


class Starts:
    """The last ones that happened here."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[bytes, tuple[str, bytes, float]] = {}
        self._digests: dict[str, bytes] = {}

    def find(self, once: Once | None) -> str | None:
        """The stream that this start began; None: it did not happen here.

        Raises:
            RequestError: IDEMPOTENCY_MISMATCH.
        """
        known = None if once is None else self._known.get(digest_of(once))
        if once is None or known is None or known[2] <= self._clock.monotonic_s():
            return None
        if known[1] != once.body_hash:
            raise other_start()
        return known[0]

    def note(self, once: Once | None, stream: str) -> None:
        """It happened."""
        if once is None:
            return
        now_s = self._clock.monotonic_s()
        digest = digest_of(once)
        self._known[digest] = stream, once.body_hash, now_s + ONCE_MS / 1000
        self._digests[stream] = digest
        while len(self._digests) > MOST or self._is_over(next(iter(self._digests)), now_s):
            self.forget(next(iter(self._digests)))

    def forget(self, stream: str) -> None:
        """The start of this stream may happen again."""
        digest = self._digests.pop(stream, None)
        if digest is not None and self._known.get(digest, ("",))[0] == stream:
            del self._known[digest]

    def _is_over(self, stream: str, now_s: float) -> bool:
        known = self._known.get(self._digests[stream])
        return known is None or known[0] != stream or known[2] <= now_s
