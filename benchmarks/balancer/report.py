"""The figures of the runs, as Markdown and as pictures."""

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from benchmarks.balancer.scenarios import Run
from benchmarks.balancer.theory import Check

WIDTH, BAR, LEFT = 720, 22, 150


class Figures(NamedTuple):
    """Of one strategy in one scenario. Seconds; `imbalance` is the deviation of requests a replica, over the mean.

    `p99` judges: of streams the 99th percentile of the time to the first token, else of the whole.
    """

    p50: float
    whole_p99: float
    p99: float
    failed: int
    requests: int
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
        requests=results.failed + len(results.latencies),
        imbalance=math.sqrt(sum((one - mean) ** 2 for one in asked) / len(asked)) / mean,
    )


def theory_table(checks: Sequence[Check]) -> Iterator[str]:
    yield "| JSQ(2), 100 queues, load | theory | measured | off |"
    yield "|---|---|---|---|"
    for one in checks:
        yield f"| {one.load} | {one.expected:.3f} | {one.measured:.3f} | {one.off:+.1%} |"


def table(scenario: str, by_strategy: Mapping[str, Figures], *, streams: bool) -> Iterator[str]:
    """The best p99 is bold; so is whatever is within 3 % of it."""
    judged = "p99 to first token" if streams else "p99"
    yield f"\n### {scenario}\n"
    yield f"| strategy | p50 s | p99 whole s | {judged} s | failed | imbalance |"
    yield "|---|---|---|---|---|---|"
    least = min(one.p99 for one in by_strategy.values())
    for name, one in by_strategy.items():
        mark = "**" if one.p99 <= 1.03 * least else ""
        failed = f"{one.failed} of {one.requests}"
        yield (
            f"| {name} | {one.p50:.3f} | {one.whole_p99:.3f} | {mark}{one.p99:.3f}{mark} | {failed} "
            f"| {one.imbalance:.2f} |"
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
