"""Denials, folded: a flood of them by one user is one line, counted up in place.

Decides when a fold's file is closed and becomes a segment like others: soon while carrying keeps up, once a minute
otherwise, so that an hour without PostgreSQL costs sixty lines a user and limit however many were denied. Nothing is
kept in memory alone: each denial is in the page cache when `add` returns. A fold may be closed at any moment, because
PostgreSQL adds contributions up, each once by its `fold_id`.
"""

import os
from dataclasses import dataclass
from typing import Final

import msgspec

from citadel_edge.accounts.ledger.codec import HEAD_BYTES, encode_fold
from citadel_edge.accounts.ledger.event import Fold, UsageEvent, contribution, minute_of
from citadel_edge.accounts.ledger.segment import Segment
from citadel_edge.accounts.ledger.spool import SEGMENT_BYTES, Spool
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.ids import uuid7

_SOON_S: Final = 5.0
_LATE_S: Final = 60.0


@dataclass(slots=True)
class _Slot:
    """One contribution being counted: `written` of its `count` stand on disk, at `offset`."""

    fold: Fold
    offset: int = -1
    count: int = 0
    written: int = 0


class Folds:
    """The denials since the last seal, by user, limit and minute."""

    def __init__(self, spool: Spool, *, clock: Clock) -> None:
        self._spool = spool
        self._clock = clock
        self._slots: dict[tuple[str, str, int], _Slot] = {}
        self._segment: Segment | None = None
        self._fd = -1
        self._since_s = 0.0

    def add(self, denial: UsageEvent, *, limit: str) -> None:
        """Count a denial: in the page cache when this returns, or in memory while the disk refuses.

        Raises:
            ValueError, TypeError: it cannot be written down; nothing is counted.
        """
        key = (denial.user_id, limit, minute_of(denial))
        slot = self._slots.get(key) or _Slot(contribution(denial, limit=limit, fold_id=uuid7(self._clock)))
        line = encode_fold(slot.fold, slot.count + denial.count)
        if not self._slots:
            self._since_s = self._clock.monotonic_s()
        self._slots[key] = slot
        slot.count += denial.count
        try:
            self._put(slot, line)
        except OSError as error:
            self._spool.refused(error, "denials counted in memory: the spool's disk refuses them")

    def seal_when_due(self) -> None:
        """Hand the fold over if it is old or big enough."""
        if not self._slots:
            return
        age_s = self._clock.monotonic_s() - self._since_s
        keeps_up = self._spool.oldest_s() < _SOON_S
        big = self._segment is not None and self._segment.size >= SEGMENT_BYTES
        if age_s >= (_SOON_S if keeps_up else _LATE_S) or big:
            self.seal()

    def seal(self) -> None:
        """Hand the fold over to the spool; further denials begin another."""
        if self._segment:
            self._segment.sealed = True
            self._spool.syncer.close_later(self._fd)
            self._spool.adopt(self._segment)
            self._segment = None
        for slot in self._slots.values():
            if slot.count > slot.written:
                self._hand_over_rest(slot)
        self._slots.clear()

    def _put(self, slot: _Slot, line: bytes) -> None:
        if slot.offset >= 0:
            _write_at(self._fd, line[:HEAD_BYTES], slot.offset)
        else:
            segment = self._segment or self._begin()
            _write_at(self._fd, line, segment.size)
            slot.offset = segment.size
            segment.size += len(line)
            segment.rows += 1
        slot.written = slot.count
        self._spool.syncer.wrote(self._fd)

    def _begin(self) -> Segment:
        path = self._spool.new_path()
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._segment = Segment(path, self._clock.unix_s())
        self._spool.created()
        return self._segment

    def _hand_over_rest(self, slot: _Slot) -> None:
        """What the disk refused, as a contribution of its own: the one on disk keeps its smaller count."""
        rest = msgspec.structs.replace(slot.fold, fold_id=uuid7(self._clock))
        self._spool.keep(encode_fold(rest, slot.count - slot.written))


def _write_at(fd: int, data: bytes, offset: int) -> None:
    written = os.pwrite(fd, data, offset)
    while written < len(data):
        written += os.pwrite(fd, data[written:], offset + written)
