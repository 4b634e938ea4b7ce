"""Six replicas under fifty clients, one killed, one frozen, one ten times slower, and then all of them well again.

The edge, the replicas and the clients are processes of their own, as `python -m benchmarks.faults` runs them; it prints
the figures, and here is what they must be. Latencies are compared within one run, at service times that a busy machine
does not decide.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
COMMAND = (sys.executable, "-m", "benchmarks.faults", "--requests=2000", "--recovery-s=12")
BUSY = 2.0  # the machine is shared: the promise is twice, shown by the benchmark on a quiet one


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """One run's figures."""
    path = tmp_path_factory.mktemp("faults") / "figures.json"
    done = subprocess.run(
        [*COMMAND, f"--json={path}"], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    sys.stdout.write(done.stdout)
    return json.loads(path.read_text())


def test_no_request_fails(found):
    assert found["requests"] >= 2000
    assert found["failed"] == 0, found["failures"]
    assert found["moved"] > 0, "some were on a replica that died, or the test shows nothing"


def test_streams_that_had_begun_continue_to_the_end_with_the_uninterrupted_text(found):
    first = found["streams_by_first_replica"]
    assert {"sim-0", "sim-1"} <= set(first), "some were on the killed and the frozen one, or the test shows nothing"
    assert found["streams_failed"] == 0, found["stream_failures"]


def test_two_seconds_after_the_faults_the_fleet_is_nearly_as_fast_as_before(found):
    assert found["after"]["requests"] >= 300
    assert found["p99_ratio"] <= 2.0 * BUSY, found["after"]
    assert found["after"]["p50_ms"] <= 2.0 * found["healthy"]["p50_ms"]


def test_the_dead_and_the_frozen_get_nothing_and_the_slow_one_little(found):
    used = found["after_on_harmed"]
    assert used.get("sim-0", 0) == 0
    assert used.get("sim-1", 0) == 0
    assert used.get("sim-2", 0) <= 0.03 * found["after"]["requests"]


def test_the_recovered_take_traffic_again_without_a_burst_of_failures(found):
    assert found["recovery_failed"] == 0
    assert all(after_s is not None for after_s in found["recovered_after_s"].values()), found["recovered_after_s"]
    shares = found["last_shares"]
    assert all(shares.get(name, 0) >= 0.25 for name in ("sim-0", "sim-1", "sim-2")), shares


def test_the_recovered_are_warmed_up_not_flooded(found):
    for name, most in found["most_held_in_first_second"].items():
        assert most <= found["slots"], name
    for name in ("sim-0", "sim-1"):
        assert found["most_held_in_first_second"][name] <= found["slots"] / 2, "slow start"
