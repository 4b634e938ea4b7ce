"""Live state, published once and read by SSE, WebSocket, GraphQL and the command line alike.

Decides who gets what, and what a slow reader loses: a subscription holds a bounded number of messages, the oldest go
first, and the reader is told how many before it gets the next. METRICS keeps only the latest. Refuses to know what the
payloads mean, and never waits: publishing is a few appends on the loop's own thread.
"""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, Final, Protocol

import msgspec

from citadel_edge.telemetry.clock import Clock

_RECENT: Final = 256


class Topic(StrEnum):
    """What one can subscribe to. METRICS is latest-only, the rest comes whole."""

    HEALTH = "health"
    BREAKERS = "breakers"
    DECISIONS = "decisions"
    USAGE = "usage"
    LIMITS = "limits"
    METRICS = "metrics"
    LISTENERS = "listeners"


class Message(msgspec.Struct, frozen=True):
    """One publication, shared by its readers. `seq` rises by one over a hub's topics; `at` is in seconds since 1970."""

    seq: int
    topic: Topic
    payload: Mapping[str, Any]
    at: float


class Unread(msgspec.Struct, frozen=True):
    """A publication that nobody has read yet. `make` writes its payload, always the same, when somebody does."""

    seq: int
    topic: Topic
    make: Callable[[], Mapping[str, Any]]
    at: float

    def message(self) -> Message:
        """As it is read."""
        return Message(self.seq, self.topic, self.make(), self.at)


class Lost(msgspec.Struct, frozen=True):
    """So many messages were dropped here because the reader was slow."""

    count: int


class HubMeter(Protocol):
    """Who counts readers and losses. See `hub_metrics.HubMetrics`."""

    def subscribers(self, topic: Topic, count: int) -> None:
        """So many subscriptions to the topic now."""

    def lost(self, count: int) -> None:
        """So many more messages were dropped for slow readers."""


class Subscription:
    """What one reader has yet to read. An async iterator, for one task of the hub's loop at a time."""

    def __init__(self, topics: frozenset[Topic], *, size: int) -> None:
        self.topics = topics
        self._size = size
        self._waiting: OrderedDict[int | Topic, Message] = OrderedDict()
        self._lost = 0
        self._closed = False
        self._wake = asyncio.Event()

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> Message | Lost:
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        if self._lost:
            lost, self._lost = self._lost, 0
            return Lost(lost)
        return self._waiting.popitem(last=False)[1]

    def offer(self, message: Message) -> int:
        """Take a message; the number of older ones dropped for it (0 or 1). The hub calls this."""
        dropped = 0
        if message.topic is Topic.METRICS:
            self._waiting.pop(Topic.METRICS, None)
            self._waiting[Topic.METRICS] = message
        else:
            self._waiting[message.seq] = message
        if len(self._waiting) > self._size:
            self._waiting.popitem(last=False)
            dropped = 1
            self._lost += 1
        self._wake.set()
        return dropped

    def close(self) -> None:
        """No more will come: what waits is still read, then the iteration ends."""
        self._closed = True
        self._wake.set()


class Hub:
    """Topics, their recent past and their readers. Belongs to one event loop."""

    def __init__(self, clock: Clock, *, meter: HubMeter | None = None) -> None:
        self._clock = clock
        self._meter = meter
        self._seq = 0
        self._closed = False
        self._recent: dict[Topic, deque[Message | Unread]] = {
            topic: deque(maxlen=1 if topic is Topic.METRICS else _RECENT) for topic in Topic
        }
        self._readers: dict[Topic, list[Subscription]] = {topic: [] for topic in Topic}

    def publish(self, topic: Topic, payload: Mapping[str, Any]) -> None:
        """Tell every reader of the topic. Never blocks. The payload must not be changed afterwards."""
        self._seq += 1
        message = Message(self._seq, topic, payload, self._clock.unix_s())
        self._recent[topic].append(message)
        dropped = 0
        for reader in self._readers[topic]:
            dropped += reader.offer(message)
        if dropped and self._meter:
            self._meter.lost(dropped)

    def publish_lazily(self, topic: Topic, make: Callable[[], Mapping[str, Any]]) -> None:
        """As `publish`, for payloads that cost more to write than most of them are worth: none is, unread."""
        if self._readers[topic]:
            self.publish(topic, make())
            return
        self._seq += 1
        self._recent[topic].append(Unread(self._seq, topic, make, self._clock.unix_s()))

    @contextmanager
    def subscribe(self, topics: Iterable[Topic], *, size: int = 1024) -> Iterator[Subscription]:
        """Read these topics from now on; at most `size` messages wait for the reader."""
        subscription = Subscription(frozenset(topics), size=size)
        if self._closed:
            subscription.close()
        for topic in subscription.topics:
            self._readers[topic].append(subscription)
        self._count(subscription.topics)
        try:
            yield subscription
        finally:
            for topic in subscription.topics:
                self._readers[topic].remove(subscription)
            self._count(subscription.topics)

    def last(self, topic: Topic, n: int) -> list[Message]:
        """At most `n` of the topic's recent messages (256 are kept, of METRICS one), oldest first."""
        recent = list(self._recent[topic])[-n:] if n > 0 else []
        return [each.message() if isinstance(each, Unread) else each for each in recent]

    def subscribers(self) -> Counter[Topic]:
        """How many read each topic now."""
        return Counter({topic: len(readers) for topic, readers in self._readers.items()})

    def close(self) -> None:
        """End every subscription, also those to come: the drain calls this. Publishing stays possible, unheard."""
        self._closed = True
        for readers in self._readers.values():
            for reader in readers:
                reader.close()

    def _count(self, topics: Iterable[Topic]) -> None:
        if self._meter:
            for topic in topics:
                self._meter.subscribers(topic, len(self._readers[topic]))
