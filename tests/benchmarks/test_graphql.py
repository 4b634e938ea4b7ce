import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.graphql import http
from benchmarks.graphql.engines import CORE, OURS

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("what", "names"), [("engines", {OURS, CORE}), ("http", {http.OURS})])
def test_those_that_agree_are_measured_side_by_side(tmp_path, what, names):
    result = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks.graphql", what, "--rounds=1", "--round-s=0.01", f"--json={result}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(result.read_text())["cpu_us_per"]
    assert len(figures) == 3
    for question, by_name in figures.items():
        assert question in done.stdout
        assert names <= by_name.keys()
        assert all(us > 0 for us in by_name.values())
