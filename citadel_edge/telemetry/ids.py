"""Names that are given out here: UUIDv7 for records, request ids for requests that came without one.

Decides how an id looks. Refuses to know what is named. The sequence is the one thing in this package that belongs to
the process and not to an object: that ids never repeat and never go backwards is only true if all callers share it.
"""

import os
import threading
from collections.abc import Callable
from typing import Final
from uuid import UUID

from citadel_edge.telemetry.clock import Clock

_COUNTER_BITS: Final = 42
_COUNTER_END: Final = 1 << _COUNTER_BITS
_MAX_REQUEST_ID: Final = 128


class Uuid7Sequence:
    """UUIDv7 in strictly rising order (RFC 9562, section 6.2, method 1: a counter seeded anew each millisecond).

    The counter takes 42 bits (12 of `rand_a`, 30 of `rand_b`), seeded with its top bit clear, so that at least 2**41
    ids fit into a millisecond; 32 random bits follow. When the calendar steps back, the last millisecond is counted on.
    """

    def __init__(self, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self._entropy = entropy
        self._lock = threading.Lock()
        self._unix_ms = -1
        self._counter = 0

    def next(self, unix_ms: int) -> UUID:
        """The next id for the time `unix_ms` (milliseconds since 1970)."""
        random = int.from_bytes(self._entropy(10))
        with self._lock:
            self._advance(unix_ms, random >> 32)
            taken_ms, counter = self._unix_ms, self._counter
        return _assemble(taken_ms, counter, random & 0xFFFF_FFFF)

    def _advance(self, unix_ms: int, random: int) -> None:
        if unix_ms > self._unix_ms:
            self._unix_ms, self._counter = unix_ms, random & (_COUNTER_END // 2 - 1)
            return
        self._counter += 1
        if self._counter == _COUNTER_END:  # borrow from the next millisecond, as the RFC allows
            self._unix_ms, self._counter = self._unix_ms + 1, random & (_COUNTER_END // 2 - 1)


def _assemble(unix_ms: int, counter: int, tail: int) -> UUID:
    high = (unix_ms & 0xFFFF_FFFF_FFFF) << 16 | 0x7000 | counter >> 30
    low = 0b10 << 62 | (counter & 0x3FFF_FFFF) << 32 | tail
    return UUID(int=high << 64 | low)


_PROCESS: Final = Uuid7Sequence()


def uuid7(clock: Clock) -> UUID:
    """A UUIDv7, greater than every one this process made before."""
    return _PROCESS.next(int(clock.unix_s() * 1000))


def request_id(clock: Clock) -> str:
    """A request id of ours: `req_` and 32 hexadecimal digits, in order of time."""
    return f"req_{uuid7(clock).hex}"


def valid_request_id(text: str) -> bool:
    """Whether a client's request id may be taken over: 1 to 128 visible ASCII characters, no spaces."""
    return 0 < len(text) <= _MAX_REQUEST_ID and text.isascii() and text.isprintable() and " " not in text
