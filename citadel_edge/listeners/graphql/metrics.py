"""What graphql-api shows of its operations."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from citadel_edge.config.shape import ListenerName

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class GraphQLMetrics:
    """`citadel_graphql_operations_total` and `citadel_graphql_duration_seconds`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        listener = ListenerName.GRAPHQL.value
        operations = Counter(
            "citadel_graphql_operations", "Operations by outcome.", ["listener", "outcome"], registry=registry
        )
        duration = Histogram(
            "citadel_graphql_duration_seconds",
            "From the body to the answer.",
            ["listener"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._outcomes = {outcome: operations.labels(listener, outcome) for outcome in ("done", "partial", "refused")}
        self._duration = duration.labels(listener)

    def ended(self, *, data: bool, errors: bool, seconds: float) -> None:
        """One operation more. Without data it was refused; with data and errors it is partial."""
        outcome = "refused" if not data else "partial" if errors else "done"
        self._outcomes[outcome].inc()
        self._duration.observe(seconds)
