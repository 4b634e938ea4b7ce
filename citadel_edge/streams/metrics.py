"""What streams show of themselves: who is connected and why they leave, and how soon what came is passed on.

Decides what a figure is. Delivery latency: from the moment an event came from the upstream to the moment its bytes were
written to a client. Time to first token and the gap between tokens are the client's: of writes, not of the upstream's
events, so that several tokens in one write are one gap. Refuses to know sockets and how a stream is kept.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from citadel_edge.config.shape import ListenerName
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.tally import Tally, TallyFamily

_DELIVERY_S: Final = (5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_FIRST_TOKEN_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_GAP_S: Final = (1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Transport(StrEnum):
    """How a client is connected."""

    SSE = "sse"
    WEBSOCKET = "websocket"


class Left(StrEnum):
    """Why a connection ended.

    DONE: all was said. CLIENT: it left. SLOW: it took nothing in time. KEY: its key was revoked. PROTOCOL: it did not
    keep to the protocol.
    """

    DONE = "done"
    CLIENT = "client"
    SLOW = "slow"
    KEY = "key"
    DRAINING = "draining"
    PROTOCOL = "protocol"
    ERROR = "error"


class Resumed(StrEnum):
    """What became of a reader's cursor: nothing is missing, something is, or it was not let in."""

    FULL = "full"
    NONE = "none"
    REFUSED = "refused"


class How(StrEnum):
    """Why an answer went on elsewhere: its replica broke, or the process that produced it died."""

    REPLICA = "replica"
    TAKEOVER = "takeover"


class Connection:
    """One connection. `left`: why it ended, from whoever knows better than its exception tells."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left: Left | None = None


class Delivery:
    """One reader of one answer."""

    __slots__ = ("_asked_s", "_door", "_last_s", "_now_s")

    def __init__(self, door: "DoorMetrics", now_s: Callable[[], float], asked_s: float | None) -> None:
        self._door = door
        self._now_s = now_s
        self._asked_s = asked_s
        self._last_s: float | None = None

    def wrote(self, came_s: float | None, tokens: int) -> None:
        """A write is done.

        Args:
            came_s: monotonic seconds at which the oldest of its events came from the upstream, if that is known.
            tokens: how many token events were in it.
        """
        now_s = self._now_s()
        if came_s is not None:
            self._door.delivery_s.observe(now_s - came_s)
        if not tokens:
            return
        if self._last_s is not None:
            self._door.gap_s.observe(now_s - self._last_s)
        elif self._asked_s is not None:
            self._door.first_token_s.observe(now_s - self._asked_s)
        self._last_s = now_s


class DoorMetrics:
    """One listener's series, bound ahead. Build with `StreamMetrics.of`.

    Attributes:
        open: connections now, by transport.
    """

    def __init__(self, families: "StreamMetrics", listener: ListenerName) -> None:
        self._listener = listener.value
        self._families = families
        self.open = dict.fromkeys(Transport, 0)
        self._gauges = {each: families.connections.labels(self._listener, each.value) for each in Transport}
        self.delivery_s: Tally = families.delivery_seconds.labels(self._listener)
        self.first_token_s: Tally = families.first_token_seconds.labels(self._listener)
        self.gap_s: Tally = families.gap_seconds.labels(self._listener)

    @contextmanager
    def connected(self, transport: Transport) -> Iterator[Connection]:
        """One connection, inside; how it ended is read from its exception unless it was said."""
        connection = Connection()
        self._count(transport, 1)
        left = Left.DONE
        try:
            yield connection
        except BaseException as error:
            left = _read_from(error)
            raise
        finally:
            self._count(transport, -1)
            reason = connection.left or left
            self._families.disconnects.labels(self._listener, transport.value, reason.value).inc()

    def delivery(self, asked_s: float | None = None) -> Delivery:
        """A reader of an answer. `asked_s`: monotonic seconds of its request, when it reads from the first token on."""
        return Delivery(self, self._families.clock.monotonic_s, asked_s)

    def resumed(self, outcome: Resumed) -> None:
        """A reader came with a cursor."""
        self._families.resumes.labels(self._listener, outcome.value).inc()

    def continued(self, how: How) -> None:
        """An answer went on elsewhere."""
        self._families.continuations.labels(self._listener, how.value).inc()

    def _count(self, transport: Transport, more: int) -> None:
        self.open[transport] += more
        self._gauges[transport].set(self.open[transport])


class StreamMetrics:
    """`citadel_streaming_*`. One object a process; its families stand on streaming-api's port, by listener."""

    def __init__(self, registry: CollectorRegistry, clock: Clock) -> None:
        self.clock = clock
        self.connections = Gauge(
            "citadel_streaming_connections", "Live connections.", ["listener", "transport"], registry=registry
        )
        self.disconnects = Counter(
            "citadel_streaming_disconnects",
            "Live connections that ended, by why.",
            ["listener", "transport", "reason"],
            registry=registry,
        )
        self.resumes = Counter(
            "citadel_streaming_resumes",
            "Readers that came back with a cursor, by whether nothing was missing.",
            ["listener", "outcome"],
            registry=registry,
        )
        self.continuations = Counter(
            "citadel_streaming_continuations",
            "Answers that went on at another replica, or by another process.",
            ["listener", "how"],
            registry=registry,
        )
        self.delivery_seconds = TallyFamily(
            "citadel_streaming_delivery_seconds",
            "From an event's arrival from the upstream to its bytes written to a client.",
            ["listener"],
            registry=registry,
            bounds=_DELIVERY_S,
        )
        self.first_token_seconds = TallyFamily(
            "citadel_streaming_time_to_first_token_seconds",
            "From a request's arrival to its first token written to the client.",
            ["listener"],
            registry=registry,
            bounds=_FIRST_TOKEN_S,
        )
        self.gap_seconds = TallyFamily(
            "citadel_streaming_inter_token_seconds",
            "Between two writes of tokens to one client.",
            ["listener"],
            registry=registry,
            bounds=_GAP_S,
        )
        self._doors = {name: DoorMetrics(self, name) for name in ListenerName}

    def of(self, listener: ListenerName) -> DoorMetrics:
        """The series of the listener whose door took the work."""
        return self._doors[listener]


def _read_from(error: BaseException) -> Left:
    if isinstance(error, TimeoutError):
        return Left.SLOW
    if isinstance(error, ConnectionError | asyncio.CancelledError):
        return Left.CLIENT
    return Left.ERROR
