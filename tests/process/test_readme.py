"""README's commands do what README says: each block marked `readme` is run, in order, against a running edge."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

from processes import PORTS, served, until_status

README = Path(__file__).parents[2] / "README.md"
BLOCK = re.compile(r"^```(\w+) readme\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(edge):
    """Language and text of each marked block, pointed at this edge."""
    text = README.read_text()
    for name, port in PORTS.items():
        text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{edge.ports[name]}")
    text = text.replace(".venv/bin/citadel-edge", f"{sys.executable} -m citadel_edge")
    return BLOCK.findall(text)


def run(language, text, edge):
    interpreter = {"sh": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}[language]
    return subprocess.run([*interpreter, text], cwd=edge.home, capture_output=True, text=True, check=False, timeout=120)


async def test_every_marked_block_runs(edge):
    edge.write_config({})
    async with served(edge) as client:
        found = await asyncio.to_thread(blocks, edge)
        assert [language for language, _ in found] == ["sh", "python", "sh", "sh", "sh", "sh", "sh", "sh", "sh"]
        ran = [await asyncio.to_thread(run, language, text, edge) for language, text in found]
        assert [each.returncode for each in ran] == [0] * len(ran), [each.stderr for each in ran]
        first, sdk, routing, streams, graph, limits, services, operating, simulator = (each.stdout for each in ran)
        assert '"finish_reason"' in first
        assert "data: [DONE]" in first
        assert "Routing service " in first  # a replica may be late to a probe while it answers on a busy machine
        assert await until_status(client, edge, "routing-api", {"healthy"}) == "healthy"
        assert '"viewer":{"name":"demo"' in first
        assert sdk.strip()
        assert "REPLICA" in routing
        assert '"outcome":"done"' in routing
        assert '"health":"healthy"' in routing
        assert "event: done" in streams
        assert '"state":"done"' in streams
        assert '"latencyP95Ms":' in graph
        assert '"errors":[]' in graph
        assert "tokens_per_day" in limits
        assert '"remaining":' in limits
        assert '"tokens_out":30' in services
        assert "graphql-api" in operating
        assert "--engine" in simulator
