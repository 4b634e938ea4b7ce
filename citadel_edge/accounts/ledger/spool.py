"""The spool: what is recorded stands here, in order, until PostgreSQL has it.

Decides where a line goes: into the page cache of the newest segment, or, while the disk refuses, into a bounded list
in memory, tried again with each further line. Refuses to know what a row is, and never waits. Everything here belongs
to the event loop's thread, but for what is said to block: that is called in a thread while nothing else uses the spool
(`open`, `close`) or touches files alone (`remove`).

A segment of an earlier process is never written to again: its last line may be torn.
"""

import os
import re
from collections import deque
from collections.abc import Iterable
from itertools import count, takewhile
from pathlib import Path
from typing import Final

from structlog.typing import FilteringBoundLogger

from citadel_edge.accounts.ledger.disk import Syncer, write_to_page_cache
from citadel_edge.accounts.ledger.held import MAX_HELD, Held
from citadel_edge.accounts.ledger.segment import Segment, count_lines
from citadel_edge.telemetry.clock import Clock

SEGMENT_BYTES: Final = 8 * 2**20
_RETRIES_A_LINE: Final = 32
_COUNT_AT_MOST_BYTES: Final = 64 * 2**20
_BYTES_A_ROW: Final = 512
_NAME: Final = re.compile(r"\d{12}-\d+\.seg")


class Spool:
    """Segments on disk, oldest first, and the lines that the disk refused.

    Attributes:
        bytes: on disk, not yet removed.
        held: what the disk refused.
        rows: recorded and not yet carried; an estimate for what more than 64 MiB of an earlier process left.
        write_errors: how often the disk refused so far, writes and syncs.
        lost: rows that had no place any more, so far.
    """

    def __init__(
        self,
        directory: Path,
        *,
        clock: Clock,
        log: FilteringBoundLogger,
        segment_bytes: int = SEGMENT_BYTES,
        max_held: int = MAX_HELD,
    ) -> None:
        self.directory = directory
        self.bytes = self.rows = self.write_errors = self.lost = 0
        self.held = Held(max_held)
        self.syncer = Syncer(self._sync_failed)
        self._clock = clock
        self._log = log
        self._segment_bytes = segment_bytes
        self._segments: deque[Segment] = deque()
        self._active: Segment | None = None
        self._fd = self._directory_fd = -1
        self._numbers = count(1)

    def open(self) -> None:
        """Find what an earlier process left; start syncing. Blocks.

        Raises:
            OSError: the directory cannot be used.
        """
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory_fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        left = sorted(path for path in self.directory.iterdir() if _NAME.fullmatch(path.name))
        for path in left:
            self._find(path)
        self._numbers = count(1 + max((_number(path) for path in left), default=0))
        self.syncer.start()

    def close(self) -> None:
        """Sync what was written and let the disk go; an empty or carried segment is removed. Blocks."""
        self._retry_all()
        self.seal()
        for segment in [segment for segment in self._segments if segment.done]:
            self.remove(segment)
        self.syncer.close_later(self._directory_fd)
        self.syncer.close()

    def keep(self, line: bytes) -> None:
        """Keep a line: in the page cache when this returns, or in memory while the disk refuses. Never raises."""
        try:
            self.append(line)
        except OSError as error:
            self.refused(error, "usage row kept in memory: the spool's disk refuses it")
            self.hold(line)
            return
        self.rows += 1
        if self.held:
            self.retry()

    def append(self, line: bytes) -> None:
        """Write a line into the page cache of the newest segment: the one deliberate write on the loop's thread.

        Raises:
            OSError: the disk refuses; no part of the line is left.
        """
        segment = self._active or self._begin()
        try:
            write_to_page_cache(self._fd, line)
        except OSError:
            self._cut_torn(segment)
            raise
        if segment.done:
            segment.born_unix_s = self._clock.unix_s()
        segment.size += len(line)
        segment.rows += 1
        self.bytes += len(line)
        self.syncer.wrote(self._fd)
        if segment.size >= self._segment_bytes:
            self.seal()

    def hold(self, line: bytes) -> None:
        """Keep a line in memory until the disk, or PostgreSQL itself, takes it."""
        if self.held.add(line):
            self.rows += 1
            return
        self.lost += 1
        self._log.error("usage row lost: the disk refuses and the memory set aside is full", lost=self.lost)

    def retry(self) -> None:
        """Offer the disk some of what it refused."""
        for number, line in self.held.oldest(_RETRIES_A_LINE).items():
            try:
                self.append(line)
            except OSError as error:
                self.refused(error, "the spool's disk still refuses")
                return
            self.held.remove(number)

    def release(self, numbers: Iterable[int]) -> None:
        """These held lines are carried. One that reached the disk meanwhile is sent again, harmlessly."""
        self.rows -= sum(self.held.remove(number) for number in numbers)

    def refused(self, error: OSError, event: str) -> None:
        """Count what the disk refused; say so, but not each time."""
        self.write_errors += 1
        if self.write_errors.bit_count() == 1:  # the first, second, fourth, eighth …: a full disk must not fill the log
            self._log.error(event, error=str(error), errors=self.write_errors, held=len(self.held))

    def unsent(self) -> Segment | None:
        """The oldest segment that has lines to carry."""
        return next((segment for segment in self._segments if not segment.done), None)

    def advance(self, segment: Segment, end: int, lines: int) -> None:
        """Everything of the segment before offset `end` is carried: `lines` more than before."""
        segment.carried, segment.carried_rows = end, segment.carried_rows + lines
        self.rows -= lines

    def finished(self) -> list[Segment]:
        """Sealed segments whose lines are all carried: take them off the list, then `remove` each."""
        carried = takewhile(lambda segment: segment.done, self._segments)
        done = [segment for segment in carried if segment.sealed]
        for segment in done:
            self.drop(segment)
        return done

    def drop(self, segment: Segment) -> None:
        """Have no more to do with a segment."""
        if segment is self._active:
            self.seal()
        self._segments.remove(segment)
        self.bytes -= segment.size
        self.rows -= segment.rows - segment.carried_rows

    def postpone(self, segment: Segment) -> None:
        """Let the other segments go first."""
        self._segments.remove(segment)
        self._segments.append(segment)

    def remove(self, segment: Segment) -> None:
        """Delete a segment's file. Blocks."""
        segment.path.unlink(missing_ok=True)

    def adopt(self, segment: Segment) -> None:
        """Take over a segment written by someone else in this process."""
        self._segments.append(segment)
        self.bytes += segment.size
        self.rows += segment.rows

    def seal(self) -> None:
        """Close the newest segment; the next line begins another."""
        if self._active:
            self._active.sealed = True
            self._active = None
            self.syncer.close_later(self._fd)

    def seal_older_than(self, age_s: float) -> None:
        """Close the newest segment if all of it is carried and it is old: less to send again after a crash."""
        active = self._active
        if active and active.size and active.done and self._clock.unix_s() - _born(active.path) > age_s:
            self.seal()

    def oldest_s(self) -> float:
        """The age of the oldest row that is not carried, at most; 0 when all are. Any thread may ask."""
        born = next((segment.born_unix_s for segment in list(self._segments) if not segment.done), None)
        return 0.0 if born is None else max(0.0, self._clock.unix_s() - born)

    def new_path(self) -> Path:
        """A name for a further segment, later in order than all before."""
        return self.directory / f"{next(self._numbers):012d}-{int(self._clock.unix_s() * 1000)}.seg"

    def created(self) -> None:
        """A file was made in the directory: have its name synced too."""
        self.syncer.wrote(self._directory_fd)

    def _begin(self) -> Segment:
        path = self.new_path()
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._active = Segment(path, self._clock.unix_s())
        self._segments.append(self._active)
        self.created()
        return self._active

    def _cut_torn(self, segment: Segment) -> None:
        """Leave no part of a line. A segment with rows is closed: the fault may be the file's own (its size)."""
        try:
            os.ftruncate(self._fd, segment.size)
        except OSError:
            self.seal()
        else:
            if segment.size:
                self.seal()

    def _retry_all(self) -> None:
        before = len(self.held) + 1
        while 0 < len(self.held) < before:
            before = len(self.held)
            self.retry()
        if self.held:
            self.lost += len(self.held)
            self._log.error("usage rows lost: the disk refuses them to the end", lost=len(self.held))

    def _find(self, path: Path) -> None:
        size = path.stat().st_size
        exact = self.bytes + size <= _COUNT_AT_MOST_BYTES
        rows = count_lines(path) if exact else size // _BYTES_A_ROW
        self.adopt(Segment(path, _born(path), size=size, rows=rows, sealed=True))

    def _sync_failed(self, error: OSError) -> None:
        self.refused(error, "the spool cannot be synced: a power cut would lose usage rows")


def _number(path: Path) -> int:
    return int(path.stem.partition("-")[0])


def _born(path: Path) -> float:
    return int(path.stem.partition("-")[2]) / 1000
