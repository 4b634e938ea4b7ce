"""What streaming-api shows of its connections."""

from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge

from citadel_edge.config.shape import ListenerName


class StreamingMetrics:
    """`citadel_streaming_connections` by transport, and `citadel_streaming_disconnects_total`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        listener = ListenerName.STREAMING.value
        labels = ["listener", "transport"]
        open_now = Gauge("citadel_streaming_connections", "Live connections.", labels, registry=registry)
        ended = Counter("citadel_streaming_disconnects", "Live connections that ended.", labels, registry=registry)
        self._open = {transport: open_now.labels(listener, transport) for transport in ("sse", "websocket")}
        self._ended = {transport: ended.labels(listener, transport) for transport in ("sse", "websocket")}

    @contextmanager
    def connected(self, transport: str) -> Iterator[None]:
        """One connection, inside."""
        self._open[transport].inc()
        try:
            yield
        finally:
            self._open[transport].dec()
            self._ended[transport].inc()


STREAMING_METRICS = web.AppKey("streaming_metrics", StreamingMetrics)
