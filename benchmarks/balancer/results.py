"""What came of the requests of one run."""

from collections import Counter

from benchmarks.balancer.engines import Work


class Results:
    """Latencies in seconds, failures, and who was asked. Requests that arrived before `since` are not counted."""

    def __init__(self, since: float = 0.0) -> None:
        self.since = since
        self.latencies: list[float] = []
        self.ttfts: list[float] = []
        self.failed = 0
        self.asked: Counter[str] = Counter()

    def sent(self, row: str, now: float) -> None:
        if now >= self.since:
            self.asked[row] += 1

    def first(self, work: Work, now: float) -> None:
        if work.arrived_at >= self.since:
            self.ttfts.append(now - work.arrived_at)

    def ended(self, work: Work, now: float, *, ok: bool) -> None:
        if work.arrived_at < self.since:
            return
        if ok:
            self.latencies.append(now - work.arrived_at)
        else:
            self.failed += 1

    def quantile(self, share: float, of: list[float] | None = None) -> float:
        values = sorted(self.latencies if of is None else of)
        return values[min(len(values) - 1, int(share * len(values)))] if values else float("nan")
