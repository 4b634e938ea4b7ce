"""`python -m benchmarks.balancer`: every strategy in every scenario, in virtual time, over the real table and chooser.

`--quick` takes the most telling scenarios, shortened; it ends within a minute. The seeds are fixed.
"""

import argparse
from pathlib import Path

from benchmarks.balancer.report import figures, plot, table, theory_table
from benchmarks.balancer.scenarios import SCENARIOS, Run
from benchmarks.balancer.theory import LOADS, check
from citadel_edge.config.shape import StrategyName

REQUESTS = 300_000
SEEDS = (1, 2, 3, 4, 5, 6)
QUICK_REQUESTS = 80_000


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.balancer", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute's worth")
    parser.add_argument("--plots", type=Path, help="a directory for one picture (SVG) a scenario")
    parser.add_argument("--only", default="", help="scenarios whose name contains this")
    chosen = parser.parse_args()
    if not chosen.only:
        loads, requests, seeds = (LOADS[:2], QUICK_REQUESTS, (1,)) if chosen.quick else (LOADS, REQUESTS, SEEDS)
        checks = [check(load, requests=requests, seeds=seeds) for load in loads]
        print("\n".join(theory_table(checks)), flush=True)
    for scenario in SCENARIOS:
        if chosen.only not in scenario.name or (chosen.quick and not scenario.quick):
            continue
        found = {}
        for strategy in StrategyName:
            run = Run(scenario, strategy, share=0.25 if chosen.quick else 1.0)
            run.go()
            found[strategy.value] = figures(run)
        print("\n".join(table(scenario.name, found, streams=scenario.streams)), flush=True)
        if chosen.plots:
            plot(chosen.plots, scenario.name, found)


if __name__ == "__main__":
    main()
