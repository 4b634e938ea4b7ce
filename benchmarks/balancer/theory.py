"""The check against theory: the shorter of two queues, drawn by chance, for Poisson arrivals and exponential service.

In the limit of many queues the mean time in the system, in mean service times, is the sum over i >= 1 of
load^(2^i - 2) (Vvedenskaya, Dobrushin and Karpelevich, 1996; Mitzenmacher, 2001): 1.614 at a load of 0.7, 2.614 at
0.9, 3.383 at 0.95. A hundred queues are not the limit. What they take longer is, up to terms in 1/n^2, a constant
over n that follows from the curvature of the mean field and its noise (Gast and Van Houdt, A refined mean field
approximation, 2018), here with the two drawn apart, as the chooser draws them.
"""

# ruff: noqa: FBT001 - what is told of an ended call is one flag

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt
from random import Random
from statistics import stdev

from benchmarks.balancer.engines import Slots, Work, exponential
from benchmarks.balancer.events import World
from benchmarks.balancer.results import Results
from benchmarks.balancer.router import Router
from citadel_edge.config.shape import StrategyName

QUEUES = 100
LOADS = (0.7, 0.9, 0.95)
LEVELS = 9


def limit(load: float) -> float:
    """Mean time in the system of endlessly many queues, in mean service times."""
    return sum(load ** (2.0**i - 2.0) for i in range(1, 12))


def expected(load: float, queues: int = QUEUES, *, apart: bool = True) -> float:
    """The same of so many queues; `apart`: the two drawn are never the same one."""
    return limit(load) + sum(_shift(load, apart=apart)) / load / queues


def _shift(load: float, *, apart: bool) -> list[float]:
    """n times what the share of queues with at least 1, 2, ... calls has above its limit, by the refined mean field.

    With x_i that share, x_0 = 1: the drift is f_i = load (x_(i-1)^2 - x_i^2) - (x_i - x_(i+1)), A its derivative at
    the fixed point, Q the noise. The covariance W solves A W + W A' + Q = 0, the shift V solves A V + B W / 2 + F = 0
    with B the second derivative and F the drift's own term in 1/n.
    """
    x = [load ** (2.0**i - 1.0) for i in range(LEVELS + 2)]
    levels = range(1, LEVELS + 1)
    a = [[_slope(load, x, i, j) for j in levels] for i in levels]
    noise = [2.0 * (x[i] - x[i + 1]) for i in levels]
    w = _covariance(a, noise)
    variance = [0.0, *(w[i][i] for i in range(LEVELS))]
    bend = [load * (variance[i - 1] - variance[i]) for i in levels]
    alike = [x[i - 1] * (1.0 - x[i - 1]) - x[i] * (1.0 - x[i]) if apart else 0.0 for i in levels]
    return _solve(a, [load * more - curved for more, curved in zip(alike, bend, strict=True)])


def _slope(load: float, x: Sequence[float], i: int, j: int) -> float:
    if j == i:
        return -2.0 * load * x[i] - 1.0
    if j == i - 1:
        return 2.0 * load * x[j]
    return 1.0 if j == i + 1 else 0.0


def _covariance(a: Sequence[Sequence[float]], noise: Sequence[float]) -> list[list[float]]:
    """W of A W + W A' + diag(noise) = 0, as one system of linear equations."""
    size = len(a)
    rows, right = [], []
    for i in range(size):
        for j in range(size):
            row = [0.0] * (size * size)
            for k in range(size):
                row[k * size + j] += a[i][k]
                row[i * size + k] += a[j][k]
            rows.append(row)
            right.append(-noise[i] if i == j else 0.0)
    found = _solve(rows, right)
    return [found[i * size : (i + 1) * size] for i in range(size)]


def _solve(matrix: Sequence[Sequence[float]], right: Sequence[float]) -> list[float]:
    """Gauss with pivots."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    size = len(rows)
    for at in range(size):
        best = max(range(at, size), key=lambda which: abs(rows[which][at]))
        rows[at], rows[best] = rows[best], rows[at]
        pivot = rows[at]
        for row in rows[at + 1 :]:
            if row[at]:
                factor = row[at] / pivot[at]
                row[at:] = [value - factor * above for value, above in zip(row[at:], pivot[at:], strict=True)]
    found = [0.0] * size
    for at in reversed(range(size)):
        known = sum(rows[at][k] * found[k] for k in range(at + 1, size))
        found[at] = (rows[at][size] - known) / rows[at][at]
    return found


@dataclass(frozen=True)
class Check:
    """`error`: the standard error of the mean over the seeds, 0 with one."""

    load: float
    limit: float
    expected: float
    measured: float
    error: float

    @property
    def off(self) -> float:
        return self.measured / self.expected - 1.0


def check(load: float, *, requests: int, seeds: Sequence[int] = (1,)) -> Check:
    """The mean of some runs of the real chooser, as one of several instances, which draws two, over single servers."""
    found = [_mean_time(load, requests, seed) for seed in seeds]
    error = stdev(found) / sqrt(len(found)) if len(found) > 1 else 0.0
    return Check(load, limit(load), expected(load), sum(found) / len(found), error)


def _mean_time(load: float, requests: int, seed: int) -> float:
    world, rng = World(), Random(seed)
    seconds = requests / (load * QUEUES)
    results = Results([(0.15 * seconds, inf)])
    engines = [Slots(world, 1) for _ in range(QUEUES)]
    router = Router(world, engines, StrategyName.LEAST_IN_FLIGHT, results=results, instances=2, seed=seed)

    def ended(work: Work, ok: bool) -> None:
        results.ended(work, world.now, ok=ok)

    def arrive() -> None:
        world.after(exponential(rng, 1.0 / (load * QUEUES)), arrive)
        router.send(Work(world.now, seconds=exponential(rng, 1.0)), ended)

    arrive()
    world.run(seconds)
    return sum(results.latencies) / len(results.latencies)
