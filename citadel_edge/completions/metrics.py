"""What the main job counts. Children of each family are bound once and kept: a request looks them up, no more."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from citadel_edge.accounts.ledger.event import Outcome
from citadel_edge.config.shape import ListenerName
from citadel_edge.streams.metrics import How, StreamMetrics

_DECISION_SECONDS = (5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 5e-3)
_RATIOS = (0.1, 0.25, 0.5, 0.67, 0.8, 0.9, 1.1, 1.25, 1.5, 2, 4, 10)
_WAIT_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_TTFT_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
NOBODY = "none"
UNKNOWN_MODEL = "unknown"


class CompletionMetrics:
    """`citadel_routing_*`: decisions, their time, how right they were, retries, hedges, fallbacks, waits, tokens.

    Args:
        streams: is told of continuations too, which concern streams alone.
    """

    def __init__(self, registry: CollectorRegistry, streams: StreamMetrics | None = None) -> None:
        self._streams = streams
        self._decisions = Counter(
            "citadel_routing_decisions",
            "Requests by where they went and how they ended.",
            ["listener", "strategy", "model", "upstream", "outcome"],
            registry=registry,
        )
        self._decision_seconds = Histogram(
            "citadel_routing_decision_seconds",
            "Time to choose a replica.",
            ["listener"],
            registry=registry,
            buckets=_DECISION_SECONDS,
        )
        self._retries = Counter(
            "citadel_routing_retries",
            "Calls made again after a failure, by the failure.",
            ["listener", "model", "fault"],
            registry=registry,
        )
        self._hedges = Counter(
            "citadel_routing_hedges",
            "Calls made a second time because the first was late.",
            ["listener", "model"],
            registry=registry,
        )
        self._fallbacks = Counter(
            "citadel_routing_fallbacks",
            "Calls of a fallback, by the model that could not answer.",
            ["listener", "model", "fallback"],
            registry=registry,
        )
        self._continuations = Counter(
            "citadel_routing_continuations",
            "Broken answers that another replica was asked to go on with.",
            ["listener", "model"],
            registry=registry,
        )
        self._prediction_ratio = Histogram(
            "citadel_routing_prediction_ratio",
            "What was predicted over what came: 1 is right.",
            ["model", "quantity"],
            registry=registry,
            buckets=_RATIOS,
        )
        self._waiting = Gauge(
            "citadel_routing_waiting", "Requests that wait for a replica with room.", ["model"], registry=registry
        )
        self._wait_seconds = Histogram(
            "citadel_routing_wait_seconds",
            "How long requests waited for a replica with room.",
            ["model"],
            registry=registry,
            buckets=_WAIT_SECONDS,
        )
        self._gave_up = Counter(
            "citadel_routing_waits_given_up",
            "Requests that waited for a replica in vain.",
            ["model", "reason"],
            registry=registry,
        )
        self._ttft_seconds = Histogram(
            "citadel_routing_time_to_first_token_seconds",
            "Streams: from the request's arrival to the first token.",
            ["listener", "model"],
            registry=registry,
            buckets=_TTFT_SECONDS,
        )
        self._tokens = Counter(
            "citadel_routing_tokens", "Tokens charged.", ["listener", "model", "direction"], registry=registry
        )
        self._decision_children: dict[tuple[str, ...], Counter] = {}
        self._token_children: dict[tuple[str, str], tuple[Counter, Counter]] = {}
        self._ttft_children: dict[tuple[str, str], Histogram] = {}
        self._ratio_children: dict[str, tuple[Histogram, Histogram]] = {}
        self._time_children = {name: self._decision_seconds.labels(name.value) for name in ListenerName}

    def decided(self, listener: ListenerName, seconds: float) -> None:
        """A replica was chosen, or none, in so much time."""
        self._time_children[listener].observe(seconds)

    def retried(self, listener: ListenerName, *, model: str, fault: str) -> None:
        """A call is made again."""
        self._retries.labels(listener.value, model, fault).inc()

    def hedged(self, listener: ListenerName, *, model: str) -> None:
        """A second call is made beside a late one."""
        self._hedges.labels(listener.value, model).inc()

    def fell_back(self, listener: ListenerName, *, model: str, fallback: str) -> None:
        """Another model is asked for `model`."""
        self._fallbacks.labels(listener.value, model, fallback).inc()

    def continued(self, listener: ListenerName, *, model: str) -> None:
        """A broken answer goes on elsewhere."""
        self._continuations.labels(listener.value, model).inc()
        if self._streams is not None:
            self._streams.of(listener).continued(How.REPLICA)

    def waiting(self, model: str, count: int) -> None:
        """So many wait for a replica."""
        self._waiting.labels(model).set(count)

    def waited(self, model: str, seconds: float) -> None:
        """A wait is over."""
        self._wait_seconds.labels(model).observe(seconds)

    def gave_up(self, model: str, reason: str) -> None:
        """A wait was in vain."""
        self._gave_up.labels(model, str(reason)).inc()

    def predicted(self, model: str, *, tokens_ratio: float | None, ttft_ratio: float | None) -> None:
        """How right the predictions for an answer were; null is not known."""
        children = self._ratio_children.get(model)
        if children is None:
            family = self._prediction_ratio
            children = self._ratio_children[model] = family.labels(model, "tokens_out"), family.labels(model, "ttft")
        for child, ratio in zip(children, (tokens_ratio, ttft_ratio), strict=True):
            if ratio is not None:
                child.observe(ratio)

    def first_token(self, listener: ListenerName, *, model: str, seconds: float) -> None:
        """A stream's first token came."""
        key = (listener.value, model)
        child = self._ttft_children.get(key)
        if child is None:
            child = self._ttft_children[key] = self._ttft_seconds.labels(*key)
        child.observe(seconds)

    def ended(
        self, listener: ListenerName, *, strategy: str, model: str, upstream: str | None, outcome: Outcome
    ) -> None:
        """A request is over."""
        key = (listener.value, strategy, model, upstream or NOBODY, outcome.value)
        child = self._decision_children.get(key)
        if child is None:
            child = self._decision_children[key] = self._decisions.labels(*key)
        child.inc()

    def tokens(self, listener: ListenerName, *, model: str, tokens_in: int, tokens_out: int) -> None:
        """So many were charged."""
        key = (listener.value, model)
        children = self._token_children.get(key)
        if children is None:
            children = self._tokens.labels(*key, "in"), self._tokens.labels(*key, "out")
            self._token_children[key] = children
        children[0].inc(tokens_in)
        children[1].inc(tokens_out)
