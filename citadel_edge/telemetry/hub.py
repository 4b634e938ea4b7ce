"""Live state, published once and read by SSE, WebSocket, GraphQL and the command line alike.

Decides who is woken by what, and where a reader begins: now, a little before, or where it stopped, for as long as that
is kept (`hub_log`). A reader's place is its own (`hub_feed`). Refuses to know what the payloads mean, and never waits:
publishing is an append and a look at who sleeps, on the loop's own thread.
"""

import secrets
import string
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Protocol

from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.hub_feed import Batch, Lost, Subscription
from citadel_edge.telemetry.hub_log import KEPT, Log, Message, Topic

__all__ = ["Batch", "Hub", "HubMeter", "Lost", "Message", "Subscription", "Topic"]

SLOWEST_PACE_S: Final = 1.0
_EPOCH_LETTERS: Final = string.digits + string.ascii_lowercase
_EPOCH_LENGTH: Final = 8


class HubMeter(Protocol):
    """Who counts readers and losses. See `hub_metrics.HubMetrics`."""

    def subscribers(self, topic: Topic, count: int) -> None:
        """So many subscriptions to the topic now."""

    def lost(self, count: int) -> None:
        """So many more messages were gone before a slow reader came to them."""


class Hub:
    """Topics, their recent past and their readers. Belongs to one event loop.

    Attributes:
        epoch: this hub's name, in base 36: a place in another's past means nothing here.
    """

    def __init__(self, clock: Clock, *, meter: HubMeter | None = None, kept: int = KEPT) -> None:
        self.epoch = "".join(secrets.choice(_EPOCH_LETTERS) for _ in range(_EPOCH_LENGTH))
        self._clock = clock
        self._meter = meter
        self._log = Log(kept=kept)
        self._closed = False
        self._readers: dict[Topic, dict[Subscription, None]] = {topic: {} for topic in Topic}
        self._paces: Counter[float] = Counter()

    @property
    def seq(self) -> int:
        """Of the last message, 0 before the first."""
        return self._log.seq

    @property
    def pace_s(self) -> float:
        """How often METRICS shall be published: once a second, or as often as the most eager reader asks."""
        return self._log.pace_s

    def publish(self, topic: Topic, payload: Mapping[str, Any]) -> None:
        """Tell every reader of the topic. Never blocks. The payload must not be changed afterwards."""
        self.publish_lazily(topic, lambda: payload)

    def publish_lazily(self, topic: Topic, make: Callable[[], Mapping[str, Any]]) -> None:
        """As `publish`; the payload is made when somebody reads it first, and must then be what it would be now."""
        past = self._log.pasts[topic]
        self._log.seq = seq = self._log.seq + 1
        clock = self._clock
        message = Message(topic, make, seq=seq, nth=past.count + 1, at=clock.unix_s(), at_s=clock.monotonic_s())
        past.add(message)
        if topic is Topic.METRICS:
            for reader in self._readers[topic]:
                reader.offer_metrics(message)
        else:
            for reader in self._readers[topic]:
                reader.wake()

    @contextmanager
    def subscribe(
        self, topics: Iterable[Topic], *, after: int | None = None, recent: int = 0, metrics_every_s: float = 1.0
    ) -> Iterator[Subscription]:
        """Read these topics: from now on, with the `recent` last ones of each, or with all that is kept after a seq.

        The latest METRICS are always among what is read first.

        Args:
            topics: which.
            after: a seq of this hub; what is no longer kept was for `missing` to tell.
            recent: how many of each topic's last messages to read first; of no account with `after`.
            metrics_every_s: how often METRICS shall come, in seconds.
        """
        start = {topic: self._start(topic, after, recent) for topic in frozenset(topics)}
        wanted = tuple(start)
        reader = Subscription(
            self._log,
            start,
            after=self._before(start) if after is None else after,
            metrics_every_s=metrics_every_s,
            on_lost=self._count_lost,
        )
        if self._closed:
            reader.close()
        self._enter(reader, wanted, metrics_every_s)
        try:
            yield reader
        finally:
            self._leave(reader, wanted, metrics_every_s)

    def missing(self, topics: Iterable[Topic], after: int) -> int | None:
        """The seq of the last message after `after` that is no longer kept; null when all there was can be read."""
        lossless = (topic for topic in topics if topic is not Topic.METRICS)
        gone = max((self._log.pasts[topic].gone_seq for topic in lossless), default=0)
        return gone if gone > after else None

    def last(self, topic: Topic, n: int) -> list[Message]:
        """At most `n` of the topic's recent messages (of METRICS there is one), oldest first."""
        past = self._log.pasts[topic]
        return list(past.beyond(past.count - n)) if n > 0 else []

    def subscribers(self) -> Counter[Topic]:
        """How many read each topic now."""
        return Counter({topic: len(readers) for topic, readers in self._readers.items()})

    def close(self) -> None:
        """End every subscription, also those to come: the drain calls this. Publishing stays possible, unheard."""
        self._closed = True
        for readers in self._readers.values():
            for reader in readers:
                reader.close()

    def _start(self, topic: Topic, after: int | None, recent: int) -> int:
        past = self._log.pasts[topic]
        if topic is Topic.METRICS:
            return 0
        if after is not None:
            return past.read_at(after)
        return max(past.gone, past.count - recent)

    def _before(self, start: Mapping[Topic, int]) -> int:
        """A seq that all that is to be read lies beyond."""
        unread = (message.seq for topic, nth in start.items() for message in self._log.pasts[topic].beyond(nth))
        return min(unread, default=self.seq + 1) - 1

    def _enter(self, reader: Subscription, topics: Iterable[Topic], every_s: float) -> None:
        for topic in topics:
            self._readers[topic][reader] = None
            self._count(topic)
        if reader in self._readers[Topic.METRICS]:
            self._paces[every_s] += 1
            self._set_pace()

    def _leave(self, reader: Subscription, topics: Iterable[Topic], every_s: float) -> None:
        if reader in self._readers[Topic.METRICS]:
            self._paces[every_s] -= 1
            if not self._paces[every_s]:
                del self._paces[every_s]
            self._set_pace()
        for topic in topics:
            del self._readers[topic][reader]
            self._count(topic)

    def _set_pace(self) -> None:
        self._log.pace_s = min(SLOWEST_PACE_S, *self._paces) if self._paces else SLOWEST_PACE_S

    def _count(self, topic: Topic) -> None:
        if self._meter:
            self._meter.subscribers(topic, len(self._readers[topic]))

    def _count_lost(self, count: int) -> None:
        if self._meter:
            self._meter.lost(count)
