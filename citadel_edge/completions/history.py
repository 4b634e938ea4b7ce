"""Decisions as they are asked for: those in memory and those in PostgreSQL, as one list.

Decides that the list is ordered by when requests came, that a decision stands in it once, and that memory alone answers
while the database is away, and says so. Refuses to know who may see what: that comes in as a filter.
"""

import re
from dataclasses import dataclass
from typing import Any, Final

from citadel_edge.completions.decision_store import DecisionStore
from citadel_edge.completions.decisions import Decisions
from citadel_edge.errors import PostgresUnavailable
from citadel_edge.routing.decision import Decision

_ID: Final = re.compile(r"dec_[0-9a-f]{32}")


def is_decision_id(text: str) -> bool:
    """Whether a decision may bear this name."""
    return _ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which decisions: null is any. `model` is a model's own name, or the one that was asked for."""

    user_id: str | None = None
    model: str | None = None
    upstream: str | None = None
    outcome: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """Decisions as they are shown. `complete`: the database was asked too; else they are those in memory alone."""

    decisions: list[dict[str, Any]]
    complete: bool


class History:
    """What was decided, of late and long ago."""

    def __init__(self, recent: Decisions, store: DecisionStore) -> None:
        self._recent = recent
        self._store = store

    async def find(self, wanted: Wanted, *, limit: int, before: str | None = None) -> Found:
        """At most `limit`, as they are shown, the latest first, older than the decision `before`."""
        recent = self._recent.find(
            limit=limit,
            before=before,
            user_id=wanted.user_id,
            model=wanted.model,
            upstream=wanted.upstream,
            outcome=wanted.outcome,
        )
        kept = await self._kept(wanted, limit=limit, before=before)
        merged = {shown["id"]: shown for shown in kept or ()}
        merged |= {decision.id: decision.shown() for decision in recent}
        return Found([merged[name] for name in sorted(merged, reverse=True)[:limit]], complete=kept is not None)

    async def get(self, decision_id: str, *, user_id: str | None = None) -> dict[str, Any] | None:
        """One of them, of this user if one is named; None when there is none.

        Raises:
            PostgresUnavailable: it is not in memory, and the database is away.
        """
        if not is_decision_id(decision_id):
            return None
        recent = self._recent.get(decision_id)
        shown = await self._store.get(decision_id) if recent is None else recent.shown()
        return shown if shown is not None and user_id in (None, shown["user_id"]) else None

    def keep(self, decision_id: str) -> Decision | None:
        """Put one that is in memory into the database too, whatever the sample says: somebody will ask for it."""
        recent = self._recent.get(decision_id)
        if recent is not None:
            self._store.keep(recent)
        return recent

    async def _kept(self, wanted: Wanted, *, limit: int, before: str | None) -> list[dict[str, Any]] | None:
        try:
            return await self._store.find(
                limit=limit,
                before=before,
                user_id=wanted.user_id,
                model=wanted.model,
                upstream=wanted.upstream,
                outcome=wanted.outcome,
            )
        except PostgresUnavailable:
            return None
