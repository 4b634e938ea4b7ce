"""What a check costs is measured, over HTTP and without: each kind, so many at once, with the commands it takes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from citadel_edge.streams.names import SLOTS

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(240)
REQUESTS = 120
SWEEPS = 30  # the sweeper's own scripts, of which a slow machine sees more


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The figures of a short run."""
    path = tmp_path_factory.mktemp("checks") / "figures.json"
    command = [sys.executable, "-m", "benchmarks.limits", "checks", f"--requests={REQUESTS}", "--rounds=1"]
    command.append(f"--json={path}")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    sys.stdout.write(done.stdout)
    return json.loads(path.read_text())


def besides(row):
    """Scripts that ran meanwhile for nobody's check: the sweeper's, and for leases of streams, once a second.

    Whoever asks is a program that takes a while to start.
    """
    return SWEEPS + SLOTS * (3 + REQUESTS / row["per_s"])


def test_every_kind_is_measured_at_every_number_of_connections(found):
    kinds = ("check", "settle", "over", "unlimited", "bare")
    over_http, in_process = found["over_http"], found["in_process"]
    assert set(over_http) == {f"{kind}, {connections}" for kind in kinds for connections in (1, 16, 64)}
    assert all(row["per_s"] > 0 and row["edge_us"] > 0 for row in over_http.values())
    kinds = ("check", "settle", "over")
    assert set(in_process) == {f"{kind}, {at_once}" for kind in kinds for at_once in (1, 16, 64, 256)}
    assert all(row["per_s"] > 0 and row["limiter_us"] > 0 for row in in_process.values())


def test_a_check_is_one_script_and_at_most_one_round_trip(found):
    over_http, in_process = found["over_http"], found["in_process"]
    for connections in (1, 16, 64):
        row = over_http[f"check, {connections}"]
        assert REQUESTS <= row["scripts"] * REQUESTS <= REQUESTS + besides(row)
    assert over_http["check, 64"]["trips"] < over_http["check, 1"]["trips"], "those of one turn of the loop go together"
    assert all(1 <= row["scripts"] < 1.1 for name, row in in_process.items() if not name.startswith("over"))


def test_who_is_known_to_be_over_a_limit_costs_redis_next_to_nothing(found):
    """A denial is believed for some seconds; when it is over, those who ask at the same moment ask together."""
    for rows in found.values():
        for name, row in rows.items():
            if name.startswith("over"):
                assert row["scripts"] * REQUESTS <= int(name.split()[-1]) + besides(row), name


def test_what_the_scripts_cost_redis_is_measured():
    command = [sys.executable, "-m", "benchmarks.limits", "script", "--requests=64", "--rounds=1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "five limits: reserve" in done.stdout


def test_an_answer_that_is_none_is_no_figure(tmp_path):
    (tmp_path / "asked").write_text("{}")
    plan = {"url": "http://127.0.0.1:9/v1/check", "key": "k", "connections": 1, "bodies": str(tmp_path / "asked")}
    plan["answers"] = str(tmp_path / "answered")
    command = [sys.executable, "-m", "benchmarks.limits.checkers", json.dumps(plan)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "http://127.0.0.1:9/v1/check: " in done.stderr
