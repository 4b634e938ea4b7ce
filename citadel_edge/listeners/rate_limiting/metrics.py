"""What rate-limiting-api shows of the accounts."""

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter

from citadel_edge.config.shape import ListenerName


class AccountsMetrics:
    """`citadel_accounts_changes_total` by outcome."""

    def __init__(self, registry: CollectorRegistry) -> None:
        changes = Counter(
            "citadel_accounts_changes", "Changes of accounts.", ["listener", "outcome"], registry=registry
        )
        listener = ListenerName.RATE_LIMITING.value
        self.made = changes.labels(listener, "made")
        self.refused = changes.labels(listener, "refused")
        self.replayed = changes.labels(listener, "replayed")


ACCOUNTS_METRICS = web.AppKey("accounts_metrics", AccountsMetrics)
