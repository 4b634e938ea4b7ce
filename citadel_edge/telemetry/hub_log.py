"""What was published of late, topic by topic, kept once for all who read it.

Decides what is kept (so many a topic, of METRICS the latest) and that a message is written as JSON once, by whoever
reads it first. Refuses to know who reads.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from itertools import islice
from typing import Any, Final

import msgspec

KEPT: Final = 1024


class Topic(StrEnum):
    """What one can subscribe to. METRICS is latest-only, the rest comes whole."""

    HEALTH = "health"
    BREAKERS = "breakers"
    DECISIONS = "decisions"
    USAGE = "usage"
    LIMITS = "limits"
    METRICS = "metrics"
    LISTENERS = "listeners"


class Message:
    """One publication, shared by its readers.

    Attributes:
        seq: rises by one over a hub's topics. nth: over its own topic.
        at: seconds since 1970. at_s: monotonic seconds.
    """

    __slots__ = ("_body", "_make", "_payload", "at", "at_s", "nth", "seq", "topic")

    def __init__(
        self, topic: Topic, make: Callable[[], Mapping[str, Any]], *, seq: int, nth: int, at: float, at_s: float
    ) -> None:
        self.topic = topic
        self.seq = seq
        self.nth = nth
        self.at = at
        self.at_s = at_s
        self._make: Callable[[], Mapping[str, Any]] | None = make
        self._payload: Mapping[str, Any] = {}
        self._body: bytes | None = None

    @property
    def payload(self) -> Mapping[str, Any]:
        """What was published; made when it is read first, and nobody's to change."""
        if self._make is not None:
            self._payload, self._make = self._make(), None
        return self._payload

    @property
    def body(self) -> bytes:
        """A JSON object of `seq`, `at` and `data`, without a line end; encoded when it is read first."""
        if self._body is None:
            self._body = msgspec.json.encode({"seq": self.seq, "at": self.at, "data": self.payload})
        return self._body


class Past:
    """One topic's recent messages. `count`: all there ever were. `gone_seq`: of the last that is not kept any more."""

    def __init__(self, kept: int) -> None:
        self.count = 0
        self.gone_seq = 0
        self._kept: deque[Message] = deque(maxlen=kept)

    @property
    def gone(self) -> int:
        """How many are not kept any more."""
        return self.count - len(self._kept)

    @property
    def latest(self) -> Message | None:
        """The last one."""
        return self._kept[-1] if self._kept else None

    def add(self, message: Message) -> None:
        """One more; perhaps the oldest goes."""
        if len(self._kept) == self._kept.maxlen:
            self.gone_seq = self._kept[0].seq
        self._kept.append(message)
        self.count += 1

    def beyond(self, nth: int) -> Iterable[Message]:
        """Those after the `nth`, as far as they are kept, oldest first."""
        unread = self.count - nth
        if unread <= 0:
            return ()
        if unread == 1:
            return (self._kept[-1],)
        return islice(self._kept, max(0, len(self._kept) - unread), None)

    def read_at(self, seq: int) -> int:
        """How many have been read by whoever read up to `seq`; what went since counts as read."""
        unread = 0
        for message in reversed(self._kept):
            if message.seq <= seq:
                break
            unread += 1
        return self.count - unread


class Log:
    """All topics. `pace_s`: how often METRICS is published at present, in seconds."""

    def __init__(self, *, kept: int = KEPT) -> None:
        self.seq = 0
        self.pace_s = 1.0
        self.pasts: Mapping[Topic, Past] = {topic: Past(1 if topic is Topic.METRICS else kept) for topic in Topic}
