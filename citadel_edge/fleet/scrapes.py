"""Asking a healthy replica what it says of itself: its load every round, its slots and contexts now and then.

Decides when to ask for what, and when to stop asking: a page that is not there is left alone for a minute. Refuses to
judge health: whatever goes wrong here, only what we know of the load suffers. Bounded in bytes and time.
"""

from dataclasses import dataclass, field
from typing import Final

from citadel_edge.errors import UpstreamError
from citadel_edge.fleet.client import UpstreamClient
from citadel_edge.fleet.engines.dialect import FactPage, LoadPage
from citadel_edge.fleet.engines.known import dialect_of
from citadel_edge.fleet.fleet import Fleet
from citadel_edge.fleet.metrics import FleetMetrics
from citadel_edge.fleet.row import Row
from citadel_edge.telemetry.clock import Clock

PATIENCE_S: Final = 0.5
MAX_PAGE_BYTES: Final = 2**20
FACTS_EVERY_S: Final = 30.0
LEFT_ALONE_S: Final = 60.0
AGAIN_IN_S: Final = 2.0  # after no answer at all
WORKED_S: Final = 10.0  # so long after our last call, looking at a page that disturbs is still allowed
_OK: Final = 200


@dataclass(slots=True)
class Due:
    """When a row's pages are asked for again, in monotonic seconds."""

    load_at: float = 0.0
    facts_at: dict[str, float] = field(default_factory=dict)


class Scrapes:
    """One object a process."""

    def __init__(self, fleet: Fleet, client: UpstreamClient, *, clock: Clock, metrics: FleetMetrics) -> None:
        self._fleet = fleet
        self._client = client
        self._clock = clock
        self._metrics = metrics

    async def look(self, row: Row, due: Due) -> bool:
        """Ask for what is due; False when it did not answer at all, though its probe did a moment ago."""
        dialect = dialect_of(row.engine)
        for page in dialect.facts:
            if self._clock.monotonic_s() >= due.facts_at.get(page.path, 0.0) and not await self._learn(row, page, due):
                return False
        if dialect.load is None or not self._wanted(row, dialect.load, due):
            return True
        return await self._read(row, dialect.load, due)

    def _wanted(self, row: Row, page: LoadPage, due: Due) -> bool:
        now = self._clock.monotonic_s()
        if row.sleeping or now < due.load_at:
            return False
        return not page.disturbs or row.in_flight > 0 or now - row.last_byte_at < WORKED_S

    async def _learn(self, row: Row, page: FactPage, due: Due) -> bool:
        found = await self._fetch(row, page.path)
        now = self._clock.monotonic_s()
        if found is None:
            due.facts_at[page.path] = now + AGAIN_IN_S
            return False
        status, body = found
        due.facts_at[page.path] = now + (FACTS_EVERY_S if status == _OK else LEFT_ALONE_S)
        if status == _OK:
            self._fleet.learn(row, page.read(body))
        if row.sleeping:
            due.facts_at[page.path] = now  # it may wake any time
        return True

    async def _read(self, row: Row, page: LoadPage, due: Due) -> bool:
        ours = row.in_flight
        found = await self._fetch(row, page.path)
        reading = page.read(found[1]) if found is not None and found[0] == _OK else None
        if reading is not None:
            self._fleet.scraped(row, reading, own_in_flight=max(ours, row.in_flight))
            return True
        if self._fleet.table.holds(row):
            self._metrics.scrape_failed(row.id)
        again_in_s = AGAIN_IN_S if found is None else LEFT_ALONE_S
        due.load_at = self._clock.monotonic_s() + again_in_s
        return found is not None

    async def _fetch(self, row: Row, path: str) -> tuple[int, bytes] | None:
        try:
            return await self._client.fetch(row, path, timeout_s=PATIENCE_S, limit=MAX_PAGE_BYTES)
        except UpstreamError:
            return None
