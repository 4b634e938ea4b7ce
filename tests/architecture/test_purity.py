"""What decides stays pure: no await, no clock, no socket, no randomness, no logger, no file."""

import ast
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

import citadel_edge
from architecture_source import Module, Package, read

PACKAGE = read(Path(citadel_edge.__file__).parent)

PURE = (
    "wire/*.py",
    "routing/*.py",
    "completions/request.py",
    "completions/looks.py",
    "completions/relay.py",
    "completions/continuation.py",
    "completions/started.py",
    "completions/seam.py",
    "completions/resumed.py",
    "completions/recording.py",
    "limits/gcra.py",
    "limits/rules.py",
    "limits/standings.py",
    "limits/packed.py",
    "limits/plan.py",
    "limits/headers.py",
    "limits/refusals.py",
    "fleet/table.py",
    "fleet/row.py",
    "fleet/signals.py",
    "fleet/fits.py",
    "fleet/gauges.py",
    "fleet/vitals.py",
    "fleet/cooling.py",
    "fleet/lessons.py",
    "fleet/overdue.py",
    "fleet/outcomes.py",
    "fleet/guards.py",
    "fleet/breaker.py",
    "fleet/breakers.py",
    "fleet/engines/*.py",
    "budgets/queue.py",
    "budgets/fair_queue.py",
    "health/verdict.py",
    "process/panel.py",
    "telemetry/redaction.py",
    "accounts/keys.py",
    "graph/bounds.py",
    "graph/cost*.py",
    "graph/lru.py",
    "graph/operations.py",
    "graph/patterns.py",
    "graph/reading.py",
    "accounts/analytics/dimensions.py",
    "accounts/analytics/buckets.py",
    "accounts/analytics/pieces.py",
    "accounts/analytics/durations.py",
    "accounts/analytics/question.py",
    "accounts/analytics/columns.py",
    "accounts/analytics/reach.py",
    "accounts/analytics/estimate.py",
    "accounts/analytics/statement.py",
    "accounts/analytics/folding.py",
)
STANDING = {"wire/sse.py", "wire/openai.py", "fleet/table.py", "fleet/breaker.py", "completions/request.py"}
BANNED_MODULES = frozenset(
    "asyncio time random secrets socket ssl select selectors signal threading multiprocessing concurrent subprocess "
    "os io pathlib shutil tempfile logging structlog aiohttp redis asyncpg prometheus_client uvloop "
    "citadel_edge.telemetry citadel_edge.storage".split()
)
BANNED_CALLS = frozenset(
    "open print input datetime.now datetime.utcnow datetime.today date.today datetime.datetime.now datetime.date.today "
    "datetime.datetime.utcnow uuid.uuid1 uuid.uuid4 uuid1 uuid4".split()
)
AWAITING = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)


def is_pure(module: Module) -> bool:
    return any(fnmatch(module.inside, pattern) for pattern in PURE)


def impurities(package: Package) -> list[str]:
    """Whatever a pure file may not hold."""
    return [finding for module in package.modules.values() if is_pure(module) for finding in _findings(package, module)]


def _findings(package: Package, module: Module) -> Iterator[str]:
    for wanted in package.imports(module):
        if any(wanted.target == banned or wanted.target.startswith(f"{banned}.") for banned in BANNED_MODULES):
            yield module.at(wanted.line, f"imports {wanted.target}")
    for node in module.nodes:
        if isinstance(node, AWAITING):
            yield module.at(node.lineno, "awaits")
        if isinstance(node, ast.Call) and (called := ast.unparse(node.func)) in BANNED_CALLS:
            yield module.at(node.lineno, f"calls {called}")


def test_what_decides_is_pure() -> None:
    assert impurities(PACKAGE) == []


def test_the_pure_files_are_there_to_be_judged() -> None:
    judged = {module.inside for module in PACKAGE.modules.values() if is_pure(module)}
    assert judged >= STANDING


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "import os.path",
        "from random import choice",
        "from asyncio import sleep",
        "import aiohttp.web",
        "from citadel_edge.telemetry.clock import Clock",
        "async def late(): ...",
        "def read(): return open('x')",
        "from datetime import datetime\nnow = datetime.now()",
        "import uuid\nname = uuid.uuid4()",
        "def late():\n    import logging",
    ],
)
def test_each_impurity_is_found(tmp_path: Path, source: str) -> None:
    root = tmp_path / "citadel_edge"
    (root / "wire").mkdir(parents=True)
    (root / "wire" / "sse.py").write_text(source)
    assert len(impurities(read(root))) == 1


def test_an_impure_file_elsewhere_is_no_finding(tmp_path: Path) -> None:
    root = tmp_path / "citadel_edge"
    (root / "fleet").mkdir(parents=True)
    (root / "fleet" / "client.py").write_text("import asyncio\nasync def open_(): await asyncio.sleep(0)")
    (root / "fleet" / "table.py").write_text("from datetime import datetime\nimport math\n")
    assert impurities(read(root)) == []
