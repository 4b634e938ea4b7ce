"""What a check costs over HTTP is measured: each kind, at each number of connections, with the commands it takes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The figures of a short run."""
    path = tmp_path_factory.mktemp("checks") / "figures.json"
    command = [sys.executable, "-m", "benchmarks.limits", "check", "--requests=200", "--rounds=1", f"--json={path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    sys.stdout.write(done.stdout)
    return json.loads(path.read_text())


def test_every_kind_is_measured_at_every_number_of_connections(found):
    kinds = ("check", "settle", "over", "unlimited")
    assert set(found) == {f"{kind}, {connections}" for kind in kinds for connections in (1, 16, 64)}
    assert all(row["per_s"] > 0 and row["edge_us"] > 0 for row in found.values())


def test_a_check_is_one_script_and_at_most_one_round_trip(found):
    for connections in (1, 16, 64):
        assert 1 <= found[f"check, {connections}"]["scripts"] < 1.1, "the sweeper runs one now and then"
    assert found["check, 64"]["trips"] < found["check, 1"]["trips"], "checks of one turn of the loop travel together"


def test_who_is_known_to_be_over_a_limit_costs_redis_next_to_nothing(found):
    """A denial is believed for some seconds; when it is over, those who ask at the same moment ask together."""
    assert all(found[f"over, {connections}"]["scripts"] * 200 <= connections for connections in (1, 16, 64))


def test_an_answer_that_is_none_is_no_figure(tmp_path):
    (tmp_path / "asked").write_text("{}")
    plan = {"url": "http://127.0.0.1:9/v1/check", "key": "k", "connections": 1, "bodies": str(tmp_path / "asked")}
    plan["answers"] = str(tmp_path / "answered")
    command = [sys.executable, "-m", "benchmarks.limits.checkers", json.dumps(plan)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "http://127.0.0.1:9/v1/check: " in done.stderr
