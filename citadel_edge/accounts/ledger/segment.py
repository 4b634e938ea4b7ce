"""One file of the spool, and how it is read back in batches.

Decides what of a file is a row, what is torn (the last line of a process that died while writing it: its request was
never answered to the end) and what is corrupt. Refuses to know where rows go. `read_batch` blocks: call it in a thread.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from citadel_edge.accounts.ledger.codec import LineError, unseal

_READ_BYTES: Final = 512 * 1024


@dataclass(slots=True, eq=False)
class Segment:
    """A file of the spool and how far it is carried. Offsets and sizes in bytes, times in seconds since 1970.

    Attributes:
        size: bytes of whole lines; a torn line behind them is not counted.
        sealed: nothing more is written to it: once carried it is removed.
        born_unix_s: when its oldest row that is not carried was written, at the latest.
    """

    path: Path
    born_unix_s: float
    size: int = 0
    rows: int = 0
    carried: int = 0
    carried_rows: int = 0
    sealed: bool = False

    @property
    def done(self) -> bool:
        """All of it, as of now, is carried."""
        return self.carried >= self.size


@dataclass(frozen=True, slots=True)
class Corrupt:
    """A line that cannot be read, as it stands in the file."""

    path: Path
    offset: int
    line: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive lines of a segment: the payloads of the good ones, and where the next batch begins."""

    payloads: list[bytes]
    corrupt: list[Corrupt]
    torn_bytes: int
    end: int
    lines: int


def read_batch(path: Path, start: int, end: int, *, max_rows: int) -> Batch:
    """At most `max_rows` lines between two offsets.

    Raises:
        OSError: the file is gone or cannot be read.
    """
    data, at_end = _read(path, start, end)
    if not data:  # the file is shorter than it was
        return Batch([], [], torn_bytes=end - start, end=end, lines=0)
    return _split(path, start, data, max_rows=max_rows, at_end=at_end)


def _read(path: Path, start: int, end: int) -> tuple[bytes, bool]:
    """Bytes from `start` that hold at least one line, and whether nothing follows them."""
    wanted = min(end - start, _READ_BYTES)
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        data = file.read(wanted)
        while len(data) == wanted and wanted < end - start and b"\n" not in data:
            wanted = min(end - start, 2 * wanted)
            data += file.read(wanted - len(data))
    return data, len(data) < wanted or start + len(data) >= end


def _split(path: Path, start: int, data: bytes, *, max_rows: int, at_end: bool) -> Batch:
    payloads: list[bytes] = []
    corrupt: list[Corrupt] = []
    position = lines = 0
    while lines < max_rows and (newline := data.find(b"\n", position)) >= 0:
        line = data[position:newline]
        try:
            payloads.append(unseal(line))
        except LineError:
            corrupt.append(Corrupt(path, start + position, line))
        position, lines = newline + 1, lines + 1
    torn = 0
    if at_end and lines < max_rows:
        torn, position = len(data) - position, len(data)
    return Batch(payloads, corrupt, torn, start + position, lines)


def count_lines(path: Path) -> int:
    """How many lines a file has. Blocks."""
    with path.open("rb", buffering=0) as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(_READ_BYTES), b""))
