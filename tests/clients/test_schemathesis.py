"""Operations that schemathesis makes of the schema, on every root field: none makes the graph fail."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from citadel_edge.config.shape import ListenerName

pytestmark = pytest.mark.usefixtures("full_speed")
OPERATIONS = 30
EXAMPLES = 6
WITHIN_S = 60


async def test_no_generated_operation_makes_the_graph_fail(edge_with, tmp_path):
    async with edge_with() as served:
        said = await run(served, tmp_path)
    tested = re.search(r"Operations:\s+(\d+) selected", said) or re.search(r"(\d+) passed", said)
    assert tested, said
    assert int(tested[1]) >= OPERATIONS, said


async def run(served, folder):
    """Schemathesis over the whole graph as an admin; what it said."""
    authorization = f"Authorization: {served.as_admin()['Authorization']}"
    options = ["--checks", "no_fault_of_ours", "--phases", "fuzzing", "--max-examples", str(EXAMPLES), "--seed", "1"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "run", served.url("/graphql", ListenerName.GRAPHQL)),
        *(*options, "--header", authorization, "--continue-on-failure", "--no-color", "--generation-database", "none"),
        cwd=folder,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "clients.faults", "PYTHONPATH": str(Path(__file__).parents[1])},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), WITHIN_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert process.returncode == 0, said.decode(errors="replace")
    return said.decode(errors="replace")
