"""`python -m benchmarks.balancer`: every strategy in every scenario, in virtual time, over the real table and chooser.

`--quick` takes the most telling scenarios, shortened; it ends within a minute. The seeds are fixed.
"""

import argparse
from pathlib import Path
from time import process_time

from benchmarks.balancer.report import Figures, averaged, figures, plot, table, theory_table
from benchmarks.balancer.runs import Run, Scenario
from benchmarks.balancer.scenarios import SCENARIOS
from benchmarks.balancer.theory import LOADS, check
from citadel_edge.config.shape import StrategyName

THEORY = "JSQ(2) against theory"
REQUESTS = 200_000
SEEDS = (1, 2, 3, 4, 5, 6)
QUICK_REQUESTS = 80_000
QUICK_SHARE = 0.35


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.balancer", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute's worth")
    parser.add_argument("--plots", type=Path, help="a directory for one picture (SVG) a scenario")
    parser.add_argument("--only", default="", help="scenarios whose name contains this")
    chosen = parser.parse_args()
    if chosen.only in THEORY:
        loads, requests, seeds = (LOADS[:2], QUICK_REQUESTS, (1, 2)) if chosen.quick else (LOADS, REQUESTS, SEEDS)
        print("\n".join(theory_table([check(load, requests=requests, seeds=seeds) for load in loads])), flush=True)
    for scenario in SCENARIOS:
        if chosen.only not in scenario.name or (chosen.quick and not scenario.quick):
            continue
        found = {strategy.value: runs(scenario, strategy, quick=chosen.quick) for strategy in StrategyName}
        print("\n".join(table(scenario.name, found, streams=scenario.streams)), flush=True)
        if chosen.plots:
            plot(chosen.plots, scenario.name, {name: averaged(each) for name, each in found.items()})
    print(f"\n{process_time():.0f} s of CPU")


def runs(scenario: Scenario, strategy: StrategyName, *, quick: bool) -> list[Figures]:
    """One a seed."""
    found = []
    for seed in SEEDS[: scenario.seeds // 3 if quick else scenario.seeds]:
        run = Run(scenario, strategy, seed=seed, share=QUICK_SHARE if quick else 1.0)
        run.go()
        found.append(figures(run))
    return found


if __name__ == "__main__":
    main()
