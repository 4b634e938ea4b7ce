"""The balancer against theory, and `adaptive` against the others, in virtual time."""

import subprocess
import sys
from pathlib import Path

import pytest

from citadel_edge.config.shape import StrategyName

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.balancer.report import Figures, figures, standings  # noqa: E402 - the benchmarks are no package of ours
from benchmarks.balancer.runs import Run  # noqa: E402
from benchmarks.balancer.scenarios import SCENARIOS  # noqa: E402
from benchmarks.balancer.theory import check, expected, limit  # noqa: E402

ROUND_ROBIN = StrategyName.ROUND_ROBIN
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


def run(name: str, strategy: StrategyName, share: float = 1.0, seed: int = 1) -> tuple[Run, Figures]:
    done = Run(BY_NAME[name], strategy, seed=seed, share=share)
    done.go()
    return done, figures(done)


def test_the_formula_gives_the_known_figures():
    assert [round(limit(load), 3) for load in (0.7, 0.9, 0.95)] == [1.614, 2.614, 3.383]


@pytest.mark.parametrize(
    ("load", "queues", "calls"), [(0.7, 10, 1.2150), (0.9, 20, 2.5520), (0.95, 50, 3.3915), (0.95, 100, 3.3027)]
)
def test_the_correction_for_few_queues_gives_the_published_mean_numbers_of_calls(load, queues, calls):
    assert expected(load, queues, apart=False) * load == pytest.approx(calls, abs=0.0005)


@pytest.mark.parametrize("load", [0.7, 0.9])
def test_two_choices_wait_as_long_as_theory_says(load):
    assert abs(check(load, requests=50_000).off) < 0.03


@pytest.mark.parametrize(
    "name", ["heterogeneous slots, load 0.9", "50 clients, one of six x10 slow", "LLM: one x10 slow"]
)
def test_adaptive_has_the_best_tail(name):
    tails = {strategy: run(name, strategy, 0.2)[1].p99 for strategy in StrategyName}
    assert tails[StrategyName.ADAPTIVE] <= 1.03 * min(tails.values())


def test_a_conversation_is_rarely_torn_from_the_cache_that_holds_it():
    name = "LLM: chats with shared prefixes"
    tails = {strategy: run(name, strategy, 0.5)[1].p99 for strategy in (StrategyName.ADAPTIVE, StrategyName.PREFIX)}
    assert tails[StrategyName.ADAPTIVE] < 2.0 * tails[StrategyName.PREFIX]
    assert tails[StrategyName.ADAPTIVE] < 0.1 * run(name, StrategyName.LEAST_IN_FLIGHT, 0.5)[1].p99


def test_few_calls_follow_into_a_freeze():
    asked = [
        run("50 clients, one of six frozen", strategy, 0.4)[1] for strategy in (StrategyName.ADAPTIVE, ROUND_ROBIN)
    ]
    assert asked[0].moved < asked[1].moved / 4
    assert asked[0].failed == 0
    assert asked[0].p99 < 0.25 < asked[1].p99


def test_what_varies_more_than_it_differs_is_a_tie():
    def runs(*values):
        return [Figures(0.0, 0.0, value, 0, 0, 0, 0.0) for value in values]

    places = standings({"a": runs(1.0, 2.0, 3.0), "b": runs(1.1, 2.6, 2.6), "c": runs(1.2, 2.2, 3.2)})
    assert places == {"a": "first", "b": "tied", "c": "+10%"}
    assert standings({"a": runs(1.0), "b": runs(1.02), "c": runs(1.04)}) == {"a": "first", "b": "tied", "c": "+4%"}


def test_a_slow_replica_is_left_alone_two_seconds_later_and_still_tried():
    done, seen = run("50 clients, one of six x10 slow", StrategyName.ADAPTIVE, 0.5)
    asked = done.results.asked
    assert 0 < asked["r000"] < 0.01 * sum(asked.values())
    assert seen.p99 < 0.25


def test_a_replica_that_is_fast_again_comes_back_without_a_burst():
    scenario = BY_NAME["50 clients, one of six x10 slow"]
    done = Run(scenario, StrategyName.ADAPTIVE, share=1.5)
    done.scenario.build(done)
    done.world.run(20.0)
    done.engines[0].pace = 1.0
    before = done.results.asked["r000"]
    done.world.run(20.1)
    assert done.results.asked["r000"] - before < 15
    done.world.run(40.0)
    before, all_before = done.results.asked["r000"], sum(done.results.asked.values())
    done.world.run(45.0)
    share = (done.results.asked["r000"] - before) / (sum(done.results.asked.values()) - all_before)
    assert share > 0.05


def test_the_report_has_a_table_and_a_picture(tmp_path):
    command = [sys.executable, "-m", "benchmarks.balancer", "--quick", "--only=x10 slow", f"--plots={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=True)
    assert all(strategy.value in done.stdout for strategy in StrategyName)
    (picture,) = tmp_path.iterdir()
    assert picture.read_text().startswith("<svg")
