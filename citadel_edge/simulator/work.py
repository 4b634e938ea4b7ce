"""One request under way, as the parts of the server that work on it see it. Values only."""

from dataclasses import dataclass

from aiohttp import web

from citadel_edge.simulator.asks import Ask
from citadel_edge.simulator.faults import Entry
from citadel_edge.simulator.plan import Plan
from citadel_edge.simulator.records import Record


@dataclass(slots=True, kw_only=True)
class Work:
    """One request.

    Attributes:
        request: as it came.
        record: what is remembered of it.
        ask: what it asks for.
        plan: what will be answered.
        read: the prompt's tokens.
        entry: the fault that strikes it.
        kept: it goes on although its client left.
    """

    request: web.Request
    record: Record
    ask: Ask
    plan: Plan
    read: list[str]
    entry: Entry | None
    kept: bool

    @property
    def trip(self) -> int:
        """Before which token a fault of mid-stream strikes; -1: never."""
        return -1 if self.entry is None else min(self.entry.fault.trip, len(self.plan))
