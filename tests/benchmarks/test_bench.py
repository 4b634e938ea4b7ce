import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(240)
def test_the_benchmark_measures_both_subjects_and_leaves_nothing_behind(tmp_path):
    result = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks", "--rounds=1", "--share=0.01", f"--json={result}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(result.read_text())["cpu_us_per"]
    assert len(figures) == 3
    for by_subject in figures.values():
        assert by_subject["citadel-edge"] > 0
        assert by_subject["bare aiohttp"] > 0
    assert all(question in done.stdout for question in figures)


def test_a_broken_answer_is_no_figure():
    plan = {"url": "http://127.0.0.1:9", "model": "m", "key": "k", "stream": True}
    counts = {"requests": 1, "connections": 1, "tokens": 1}
    command = [sys.executable, "-m", "benchmarks.load", json.dumps({**plan, **counts})]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "http://127.0.0.1:9: " in done.stderr
