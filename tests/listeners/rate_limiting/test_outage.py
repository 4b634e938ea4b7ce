"""Redis is killed, and frozen, under the load of two instances: nobody is failed, nobody gets more than a share of the
limit, everything is counted once in the end.

`python -m benchmarks.limits outage` tells the story and prints the figures; here is what they must be.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(240)
ROOT = Path(__file__).parents[3]
COMMAND = (sys.executable, "-m", "benchmarks.limits", "outage", "--outage-s=3", "--before-s=1", "--after-s=0.5")
ADDED_MS = 250.0
"""The promise is 60, shown by the benchmark on a quiet machine. This one may be busy: what it does to an answer that
nothing was decided about is granted twice over besides."""
TOO_BUSY_MS = 400.0


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The figures of one run, by way."""
    path = tmp_path_factory.mktemp("outage") / "figures.json"
    done = subprocess.run(
        [*COMMAND, f"--json={path}"], cwd=ROOT, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    sys.stdout.write(done.stdout)
    return json.loads(path.read_text())


@pytest.fixture(params=["kill", "freeze"])
def found(both, request):
    """The figures of one way. On a machine where answers take so long that are decided by nobody, they tell nothing."""
    told = both[request.param]
    onlooker_ms = max(told["latencies"][phase]["live"]["p99_ms"] for phase in ("before", "during", "after"))
    if onlooker_ms > TOO_BUSY_MS:
        pytest.skip(f"the machine is too busy for deadlines of 50 ms: a bare answer takes it {onlooker_ms:.0f} ms")
    return told


def test_nobody_is_answered_with_an_error_of_the_server(found):
    assert found["decisions"]["during"] > 100
    assert found["server_errors"]["number"] == 0, found["server_errors"]["first"]


def test_nor_is_a_settlement_through_the_other_instance(found):
    assert found["server_errors_of_the_roaming"]["number"] == 0, found["server_errors_of_the_roaming"]["first"]


def test_who_stays_within_the_limits_is_served_all_the_time(found):
    assert found["refused_although_within_limits"]["number"] == 0, found["refused_although_within_limits"]


def test_the_outage_adds_little_time(found):
    assert all(row["n"] > 0 for phase in ("before", "during") for row in found["latencies"][phase].values())
    added = found["added_p99_ms"]
    bound = ADDED_MS + 2 * max(0.0, added["live"])
    assert all(added[part] <= bound for part in ("chat", "check", "settle")), found["latencies"]


def test_who_asks_for_more_gets_no_more_than_the_instances_shares(found):
    assert len(found["granted"]) == 4
    for one in found["granted"]:
        assert 0 < one["granted"] <= one["bound"], one
        assert one["requests"] < one["asked"], f"it was refused some, or the test shows nothing: {one}"


def test_answers_and_health_say_so_while_it_lasts_and_no_longer(found):
    degraded, decisions = found["degraded"], found["decisions"]
    for phase in ("before", "after"):  # a busy machine lets a whole turn miss its 50 ms now and then
        assert degraded[phase] <= 0.2 * decisions[phase], (degraded, decisions)
    assert degraded["during"] > 0.9 * decisions["during"]
    assert found["health_fell_after_s"] < 2
    assert found["whole_after_s"] < 5


def test_what_was_used_is_counted_once_by_redis_and_the_ledger(found):
    assert [one for one in found["counts"] if not one["agrees"]] == []
    assert all(one["answered"] > 0 for one in found["counts"])
