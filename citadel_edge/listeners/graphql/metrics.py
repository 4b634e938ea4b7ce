"""What graphql-api shows of its operations and documents.

Decides what an outcome is. `done`: data and no errors; `partial`: both; `failed`: errors alone; `refused`: nothing was
executed; `cancelled`: its client left, or ended it. Of a subscription it is that of its last event.
"""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Final

import msgspec
from graphql import OperationType
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from citadel_edge.config.shape import ListenerName
from citadel_edge.graph.answers import Answer
from citadel_edge.graph.context import Spent
from citadel_edge.graph.documents import Tally
from citadel_edge.graph.preparing import Prepared
from citadel_edge.telemetry.clock import Clock

_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10, 60)
_COST: Final = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)
_UNREAD: Final = "unread"
_LISTENER: Final = ListenerName.GRAPHQL.value


class Transport(StrEnum):
    """How an operation came."""

    HTTP = "http"
    WEBSOCKET = "websocket"
    SSE = "sse"


class Outcome(StrEnum):
    """What came of an operation."""

    DONE = "done"
    PARTIAL = "partial"
    FAILED = "failed"
    REFUSED = "refused"
    CANCELLED = "cancelled"


class Watched:
    """One operation that runs. `outcome` is the last that was noted."""

    __slots__ = ("outcome",)

    def __init__(self) -> None:
        self.outcome: Outcome | None = None

    def answered(self, answer: Answer) -> None:
        """It was answered, so far."""
        if answer.data is msgspec.UNSET or answer.data is None:
            self.outcome = Outcome.FAILED if answer.errors else Outcome.DONE
        elif self.outcome is not Outcome.PARTIAL:
            self.outcome = Outcome.PARTIAL if answer.errors else Outcome.DONE

    def part(self, *, errors: bool) -> None:
        """A part of its answer came."""
        if errors or self.outcome is None:
            self.outcome = Outcome.PARTIAL if errors else Outcome.DONE


class DocumentsCollector(Collector):
    """`citadel_graphql_documents_total`: whether a wanted document was remembered or had to be read."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def describe(self) -> Iterable[Metric]:
        """The family without its figures: the registry asks for the name."""
        return (self._family(),)

    def collect(self) -> Iterable[Metric]:
        """The figures of this moment."""
        family = self._family()
        family.add_metric([_LISTENER, "remembered"], self._tally.remembered)
        family.add_metric([_LISTENER, "read"], self._tally.read)
        return (family,)

    def _family(self) -> CounterMetricFamily:
        return CounterMetricFamily(
            "citadel_graphql_documents",
            "Documents that were wanted, by whether they were remembered or had to be read.",
            labels=["listener", "outcome"],
        )


class GraphQLMetrics:
    """`citadel_graphql_*`: operations, duration, cost, active subscriptions, documents."""

    def __init__(self, registry: CollectorRegistry, clock: Clock, documents: Tally) -> None:
        listener = _LISTENER
        self._clock = clock
        registry.register(DocumentsCollector(documents))
        operations = Counter(
            "citadel_graphql_operations", "Operations by outcome.", ["listener", "kind", "outcome"], registry=registry
        )
        duration = Histogram(
            "citadel_graphql_duration_seconds",
            "From the prepared operation to its whole answer; subscriptions are not counted.",
            ["listener", "kind"],
            buckets=_SECONDS,
            registry=registry,
        )
        cost = Histogram(
            "citadel_graphql_cost",
            "What operations cost, the tokens of their chats among it: as asked for, and what it came to.",
            ["listener", "part"],
            buckets=_COST,
            registry=registry,
        )
        subscriptions = Gauge(
            "citadel_graphql_subscriptions", "Active subscriptions.", ["listener", "transport"], registry=registry
        )
        kinds = [*(kind.value for kind in OperationType), _UNREAD]
        self._operations = {
            (kind, outcome): operations.labels(listener, kind, outcome.value) for kind in kinds for outcome in Outcome
        }
        self._duration = {kind: duration.labels(listener, kind.value) for kind in OperationType}
        self._requested, self._actual = cost.labels(listener, "requested"), cost.labels(listener, "actual")
        self._subscriptions = {each: subscriptions.labels(listener, each.value) for each in Transport}

    def refused(self) -> None:
        """A request more of which nothing was executed."""
        self._operations[_UNREAD, Outcome.REFUSED].inc()

    @contextmanager
    def running(self, prepared: Prepared, spent: Spent, transport: Transport) -> Iterator[Watched]:
        """One operation, inside."""
        began_s, watched, kind = self._clock.monotonic_s(), Watched(), prepared.kind
        active = self._subscriptions[transport]
        if kind is OperationType.SUBSCRIPTION:
            active.inc()
        ended = Outcome.DONE
        try:
            yield watched
        except (asyncio.CancelledError, GeneratorExit):
            ended = watched.outcome = Outcome.CANCELLED
            raise
        except BaseException:
            ended = watched.outcome = Outcome.FAILED
            raise
        finally:
            if kind is OperationType.SUBSCRIPTION:
                active.dec()
            else:
                self._duration[kind].observe(self._clock.monotonic_s() - began_s)
            self._requested.observe(prepared.cost + spent.claimed)
            self._actual.observe(spent.actual)
            self._operations[kind.value, watched.outcome or ended].inc()
