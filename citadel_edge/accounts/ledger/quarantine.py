"""Where rows go that cannot go on: corrupt on disk, or refused by PostgreSQL. Kept for a person to look at.

One JSON object a line in `quarantine.jsonl`: when, why, from where, and the line itself.
Methods block: call them in a thread.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from citadel_edge.telemetry.clock import Clock


@dataclass(frozen=True, slots=True)
class Outcast:
    """A line that cannot go on."""

    reason: str
    source: str
    line: bytes


class Quarantine:
    """An append-only file. `rows` are those that stand in it, of earlier processes too."""

    def __init__(self, directory: Path, *, clock: Clock) -> None:
        self.path = directory / "quarantine.jsonl"
        self.rows = 0
        self._clock = clock

    def open(self) -> None:
        """Count what stands there. Blocks."""
        if self.path.exists():
            with self.path.open("rb") as file:
                self.rows = sum(1 for _ in file)

    def add(self, outcasts: Sequence[Outcast]) -> None:
        """Keep lines, on the disk itself when this returns. Blocks.

        Raises:
            OSError: the disk refuses.
        """
        text = b"".join(self._record(outcast) for outcast in outcasts)
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(text)
            file.flush()
            os.fdatasync(fd)
        self.rows += len(outcasts)

    def _record(self, outcast: Outcast) -> bytes:
        fields = asdict(outcast) | {"line": outcast.line.decode(errors="backslashreplace")}
        return msgspec.json.encode({"at": self._clock.now(), **fields}) + b"\n"
