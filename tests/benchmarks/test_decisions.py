"""What choosing a replica costs is measured for every strategy, where all are compared and where two are drawn."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from citadel_edge.config.shape import StrategyName

ROOT = Path(__file__).parents[2]
SIZES = (2, 20, 101)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The figures of a short run, and what it printed."""
    path = tmp_path_factory.mktemp("decisions") / "figures.json"
    command = [
        sys.executable,
        "-m",
        "benchmarks.decisions",
        "--decisions=40",
        "--rounds=2",
        f"--json={path}",
        "--sizes",
    ]
    done = subprocess.run(
        [*command, *map(str, SIZES)], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(path.read_text()), done.stdout


def test_every_way_is_measured_at_every_size(run):
    found, _ = run
    ways = {*StrategyName, *(f"adaptive, {what}" for what in ("sessions", "two instances", "others' work"))}
    assert set(found) == {f"{way}, {size}" for way in (*ways, "adaptive, nothing known") for size in SIZES}
    for cell in found.values():
        assert set(cell) == {"median_us", "best_us"}
        assert 0 < cell["best_us"] <= cell["median_us"]


def test_the_table_shows_the_figures_and_what_was_promised(run):
    found, shown = run
    sizes, *rows = shown.splitlines()
    assert sizes.split()[-len(SIZES) :] == [str(size) for size in SIZES]
    promised = [row for row in rows if " of " in row]
    assert len(rows) - len(promised) == len(found) / len(SIZES)
    assert [row.partition(":")[0] for row in promised] == ["adaptive at 20"]
    assert f"{found['adaptive, 20']['median_us']:.1f} of 50 µs" in promised[0]
    assert f"{found['session, 101']['best_us']:.1f}" in next(row for row in rows if row.startswith("session"))
