"""Which lines and branches of the package a run goes through, for whoever names a folder in COVERED.

Each process of the run leaves a file of its own there, for `slipcover --merge`. Import this before the package: what is
imported after it is measured. Without COVERED it does nothing.

slipcover's own plugin for pytest is not used: it asks for inner parts of pytest that newer versions changed.
"""

import json
import os
from pathlib import Path

import slipcover

ROOT = Path(__file__).parent.parent
PACKAGE = str(ROOT / "citadel_edge")


class _Measuring(slipcover.Slipcover):
    def deinstrument_seen(self) -> None:
        """Leave probes where they are: taking them out holds up the loop for longer than they ever will."""


class Measured:
    """What is measured from now on, and its one report."""

    def __init__(self, folder: Path, process: str, *, whole: bool) -> None:
        """Begin. Args: whole: also tell of modules that nobody imports, which one process of a run has to."""
        self._file = folder / f"{process}.json"
        self._seen = _Measuring(branch=True, source=[PACKAGE] if whole else None, exclude_also=[r"\.\.\.$"])
        slipcover.ImportManager(self._seen, slipcover.FileMatcher(sources=[PACKAGE])).__enter__()

    def report(self) -> None:
        """Write down what was seen."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(json.dumps(self._seen.get_coverage()))


def _begin() -> Measured | None:
    if not (folder := os.environ.get("COVERED", "")):
        return None
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    return Measured(Path(folder), worker or "main", whole=worker is None)


measured = _begin()
