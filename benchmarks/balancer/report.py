"""The figures of the runs, as Markdown and as pictures."""

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from statistics import stdev
from typing import NamedTuple

from benchmarks.balancer.runs import Run
from benchmarks.balancer.theory import QUEUES, Check

WIDTH, BAR, LEFT = 720, 22, 150


class Figures(NamedTuple):
    """Of one strategy in one scenario. Seconds; `imbalance` is the deviation of requests a replica, over the mean.

    `p99` judges: of streams the 99th percentile of the time to the first token, else of the whole.
    """

    p50: float
    whole_p99: float
    p99: float
    failed: float
    moved: float
    requests: float
    imbalance: float


def figures(run: Run) -> Figures:
    results, streams = run.results, run.scenario.streams
    asked = [results.asked[f"r{index:03d}"] for index in range(len(run.engines))]
    mean = sum(asked) / len(asked)
    whole = results.quantile(0.99)
    return Figures(
        p50=results.quantile(0.5),
        whole_p99=whole,
        p99=results.quantile(0.99, results.ttfts) if streams else whole,
        failed=results.failed,
        moved=results.moved,
        requests=results.failed + len(results.latencies),
        imbalance=math.sqrt(sum((one - mean) ** 2 for one in asked) / len(asked)) / mean,
    )


def averaged(runs: Sequence[Figures]) -> Figures:
    return Figures(*(sum(values) / len(runs) for values in zip(*runs, strict=True)))


def spread(values: Sequence[float]) -> float:
    """The standard deviation; 0 of a single value."""
    return stdev(values) if len(values) > 1 else 0.0


def standings(by_strategy: Mapping[str, Sequence[Figures]]) -> dict[str, str]:
    """Who has the least mean p99, who is tied with it, and how far the others are behind.

    Tied: what it is behind by, seed for seed, is less than that varies over the seeds (one standard deviation); with
    one seed, or where it does not vary, less than 3 %.
    """
    means = {name: averaged(runs).p99 for name, runs in by_strategy.items()}
    first = min(means, key=lambda name: means[name])
    found = {}
    for name, runs in by_strategy.items():
        behind = [one.p99 - best.p99 for one, best in zip(runs, by_strategy[first], strict=True)]
        mean = sum(behind) / len(behind)
        noise = spread(behind) if len(behind) > 1 else 0.03 * means[first]
        found[name] = "tied" if mean <= max(noise, 0.001 * means[first]) else f"+{mean / means[first]:.0%}"
    return found | {first: "first"}


def theory_table(checks: Sequence[Check]) -> Iterator[str]:
    yield f"| JSQ(2), load | theory, endless queues | theory, {QUEUES} queues | measured | off |"
    yield "|---|---|---|---|---|"
    for one in checks:
        measured = f"{one.measured:.3f}" + (f" ± {one.error:.3f}" if one.error else "")
        yield f"| {one.load} | {one.limit:.3f} | {one.expected:.3f} | {measured} | {one.off:+.1%} |"


def table(scenario: str, by_strategy: Mapping[str, Sequence[Figures]], *, streams: bool) -> Iterator[str]:
    """Means over the seeds; of what judges also the standard deviation."""
    judged = "p99 to first token" if streams else "p99"
    seeds = len(next(iter(by_strategy.values())))
    yield f"\n### {scenario}\n"
    yield f"| strategy | p50 s | p99 whole s | {judged} s, {seeds} seeds | | moved | failed | requests | imbalance |"
    yield "|---|---|---|---|---|---|---|---|---|"
    places = standings(by_strategy)
    for name, runs in by_strategy.items():
        one = averaged(runs)
        varies = f" ± {spread([run.p99 for run in runs]):.3f}" if seeds > 1 else ""
        place = f"**{places[name]}**" if places[name] in ("first", "tied") else places[name]
        yield (
            f"| {name} | {one.p50:.3f} | {one.whole_p99:.3f} | {one.p99:.3f}{varies} | {place} | {one.moved:.1f} "
            f"| {one.failed:.1f} | {one.requests:.0f} | {one.imbalance:.2f} |"
        )


def plot(directory: Path, scenario: str, by_strategy: Mapping[str, Figures]) -> None:
    """A bar a strategy, on a logarithmic scale."""
    directory.mkdir(parents=True, exist_ok=True)
    values = {name: max(one.p99, 1e-4) for name, one in by_strategy.items()}
    low, high = math.log10(min(values.values()) / 2), math.log10(max(values.values()))
    bars = []
    for index, (name, value) in enumerate(values.items()):
        length = (WIDTH - LEFT - 90) * (math.log10(value) - low) / max(high - low, 1e-9)
        top = 34 + index * (BAR + 8)
        bars.append(
            f'<text x="{LEFT - 8}" y="{top + 16}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{LEFT}" y="{top}" width="{length:.0f}" height="{BAR}" fill="#3b6ea5"/>'
            f'<text x="{LEFT + length + 6:.0f}" y="{top + 16}">{value:.3g} s</text>'
        )
    height = 40 + len(values) * (BAR + 8)
    title = f'<text x="8" y="20" font-weight="bold">p99: {escape(scenario)}</text>'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" '
    svg += f'font-size="13"><rect width="100%" height="100%" fill="white"/>{title}{"".join(bars)}</svg>\n'
    name = "".join(letter if letter.isalnum() else "-" for letter in scenario.lower())
    (directory / f"{name}.svg").write_text(svg)
