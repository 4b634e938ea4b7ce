"""What the hub counts of itself: readers a topic, messages lost to slow readers. Refuses to know the hub's workings."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from citadel_edge.telemetry.hub import Topic


class HubMetrics:
    """`citadel_hub_subscribers{topic}` and `citadel_hub_lost_messages_total`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        gauge = Gauge("citadel_hub_subscribers", "Readers of live state.", ["topic"], registry=registry)
        self._subscribers = {topic: gauge.labels(topic.value) for topic in Topic}
        self._lost = Counter("citadel_hub_lost_messages", "Messages dropped for slow readers.", registry=registry)

    def subscribers(self, topic: Topic, count: int) -> None:
        """So many subscriptions to the topic now."""
        self._subscribers[topic].set(count)

    def lost(self, count: int) -> None:
        """So many more messages were dropped for slow readers."""
        self._lost.inc(count)
