"""Histograms for what happens at every token: a fifth of the price of the library's, the same on the scrape.

Decides how an observation is counted: one search in a short tuple and two additions, without a lock, because only the
loop's thread counts. The scrape's thread reads; a figure that changes under it is at most one observation off.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Tally:
    """Observations of one series. `counts[i]` are those of at most `bounds[i]`, the last those above all."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class TallyFamily(Collector):
    """A histogram with labels, made of tallies.

    Args:
        bounds: upper bounds of the buckets, rising; the last bucket, without a bound, is added.
    """

    def __init__(
        self, name: str, text: str, labels: Sequence[str], *, registry: CollectorRegistry, bounds: Sequence[float]
    ) -> None:
        self._name = name
        self._text = text
        self._labels = tuple(labels)
        self._bounds = tuple(bounds)
        self._children: dict[tuple[str, ...], Tally] = {}
        registry.register(self)

    def labels(self, *values: str) -> Tally:
        """The series of these values, made when it is asked for first."""
        if len(values) != len(self._labels):
            raise ValueError(f"{self._name} has the labels {self._labels}, got {values}")
        return self._children.setdefault(values, Tally(self._bounds))

    def describe(self) -> list[HistogramMetricFamily]:
        """The family without its series: so the registry knows its name."""
        return [HistogramMetricFamily(self._name, self._text, labels=self._labels)]

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """What is scraped."""
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        for values, tally in tuple(self._children.items()):
            bounds = [*map(floatToGoString, self._bounds), "+Inf"]
            family.add_metric(values, list(zip(bounds, accumulate(tally.counts), strict=True)), tally.total)
        yield family


def quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """The value that `share` of the counted stay under, straight within its bucket; null of none.

    What lies above all bounds is given as the last bound.
    """
    wanted = sum(counts) * share
    if not wanted:
        return None
    below, lower = 0, 0.0
    for bound, count in zip(bounds, counts, strict=False):
        if count and below + count >= wanted:
            return lower + (bound - lower) * (wanted - below) / count
        below, lower = below + count, bound
    return bounds[-1]
