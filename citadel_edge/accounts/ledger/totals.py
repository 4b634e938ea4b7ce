"""What was recorded since the start, in plain numbers, for whoever shows how things go right now. Refuses to judge."""

from collections import Counter
from decimal import Decimal
from typing import Final

from citadel_edge.accounts.ledger.event import UsageEvent
from citadel_edge.telemetry.tally import Tally

_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Totals:
    """One object a ledger.

    Attributes:
        requests: by outcome.
        ttft_s, duration_s: of those that had a first token, and of all that were not denied.
    """

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.tokens_in = 0
        self.tokens_out = 0
        self.cost_usd = Decimal(0)
        self.ttft_s = Tally(_SECONDS)
        self.duration_s = Tally(_SECONDS)

    def add(self, event: UsageEvent) -> None:
        """One more row."""
        self.requests[event.outcome.value] += event.count
        self.tokens_in += event.tokens_in
        self.tokens_out += event.tokens_out
        self.cost_usd += event.cost_usd
        if event.ttft_ms is not None:
            self.ttft_s.observe(event.ttft_ms / 1000)
        if event.attempts:
            self.duration_s.observe(event.duration_ms / 1000)
