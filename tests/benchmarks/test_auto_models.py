"""What `auto` is worth, on the labelled prompts."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_balanced_is_right_nine_times_of_ten_for_less_than_half_of_the_best_models_cost() -> None:
    command = [sys.executable, "-m", "benchmarks.auto_models", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=True)
    figures = json.loads(done.stdout)
    best, balanced = figures["always best (all-rounder-70b)"], figures["auto, balanced"]
    assert figures["prompts"] >= 200
    assert figures["tasks"] >= 0.9
    assert balanced["right"] >= 0.9
    assert balanced["usd_per_1000"] < best["usd_per_1000"] / 2
    assert figures["auto, quality"]["skill"] >= best["skill"]
    assert figures["auto, cost"]["usd_per_1000"] < 3 * figures["always cheapest (tiny-1b)"]["usd_per_1000"]
