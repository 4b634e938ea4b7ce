"""What came of the requests of one run."""

from collections import Counter
from collections.abc import Sequence

from benchmarks.balancer.engines import Work


class Results:
    """Latencies in seconds, failures, and who was asked. Only requests that arrived within one of `windows` count.

    Attributes:
        moved: those that the first replica did not answer, so that another was asked.
    """

    def __init__(self, windows: Sequence[tuple[float, float]]) -> None:
        self._windows = windows
        self.latencies: list[float] = []
        self.ttfts: list[float] = []
        self.failed = 0
        self.moved = 0
        self.asked: Counter[str] = Counter()

    def counts(self, at: float) -> bool:
        return any(begin <= at < end for begin, end in self._windows)

    def sent(self, work: Work, row: str, *, tries: int) -> None:
        if self.counts(work.arrived_at):
            self.asked[row] += 1
            self.moved += tries == 1

    def first(self, work: Work, now: float) -> None:
        if self.counts(work.arrived_at):
            self.ttfts.append(now - work.arrived_at)

    def ended(self, work: Work, now: float, *, ok: bool) -> None:
        if not self.counts(work.arrived_at):
            return
        if ok:
            self.latencies.append(now - work.arrived_at)
        else:
            self.failed += 1

    def quantile(self, share: float, of: list[float] | None = None) -> float:
        values = sorted(self.latencies if of is None else of)
        return values[min(len(values) - 1, int(share * len(values)))] if values else float("nan")
