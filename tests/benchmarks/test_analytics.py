"""The analytics benchmark at a small size: answers equal SQL over the rows, and come far sooner."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(240)
def test_answers_equal_sql_over_the_rows_and_come_sooner(tmp_path):
    path = tmp_path / "figures.json"
    sizes = ["--rows=10000", "--year-rows=0", "--ingest-rows=1000", "--repeats=1"]
    command = [sys.executable, "-m", "benchmarks.analytics", *sizes, f"--json={path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(path.read_text())
    assert len(figures["90 days"]) == 24
    assert all(each["equal"] for each in figures["90 days"].values())
    by_day = figures["90 days"]["day x model, UTC"]
    assert by_day["rows"] == 90 * 12
    assert all(rate > 0 for rate in figures["ingest"].values())
