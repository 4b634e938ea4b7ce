"""What streams cost is measured: readers who wait, tokens on their way, and one who stops among others."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = {
    "idle": ["--kinds=websocket", "--connections=20", "--settle-s=0.2", "--idle-s=0.2", "--events=1"],
    "delivery": ["--streams=4", "--seconds=1", "--rounds=1"],
    "stalled": ["--streams=3", "--token-ms=20", "--ramp-s=0", "--before-s=0.7", "--stall-s=1", "--after-s=0.7"],
}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The figures of short runs, all at once: most of their time goes into starting and stopping edges."""
    folder = tmp_path_factory.mktemp("streams")
    runs = {
        name: subprocess.Popen(
            [sys.executable, "-m", "benchmarks.streams", name, *options, f"--json={folder / name}"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, options in COMMANDS.items()
    }
    said = {name: run.communicate(timeout=100) for name, run in runs.items()}
    for name, (shown, errors) in said.items():
        assert runs[name].returncode == 0, f"{name}: {errors}"
        sys.stdout.write(shown)
    return {name: json.loads((folder / name).read_text()) for name in COMMANDS}


def test_readers_who_wait_are_held_and_all_are_told(found):
    row = found["idle"]["websocket"]
    assert row["event_us"] > 0
    assert 0 < row["event_p50_ms"] <= row["event_p99_ms"]


def test_every_way_is_measured_and_every_token_comes(found):
    ways = found["delivery"]
    assert set(ways) == {"direct", "bare", "ours"}
    assert all(0 < row["p50_ms"] <= row["p99_ms"] <= row["max_ms"] for row in ways.values())
    assert 0 == ways["direct"]["cpu_ms_per_1000"] < ways["bare"]["cpu_ms_per_1000"]
    assert ways["ours"]["cpu_ms_per_1000"] > 0


def test_a_reader_that_stops_leaves_the_others_whole(found):
    stalled = found["stalled"]
    assert set(stalled["phases"]) == {"before", "stalled", "after"}
    assert all(phase["tokens"] > 20 for phase in stalled["phases"].values())
    assert stalled["stalled"]["tokens"] >= stalled["stalled"]["tokens_before"] > 0
    assert stalled["largest_mb"] >= stalled["resident_mb"]["stall_begins"] > 0
