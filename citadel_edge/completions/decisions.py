"""The decisions of late, for whoever asks why. Refuses to know how one is made."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from heapq import nlargest
from typing import Final

from citadel_edge.routing.decision import Decision
from citadel_edge.telemetry.hub import Hub, Topic

_KEPT: Final = 2048
MOST_CANDIDATES: Final = 65_536
"""What all that is kept may hold of candidates: a large fleet is remembered for a shorter time, not at any price."""


class Decisions:
    """A bounded memory of decisions, each told on the hub when it is over."""

    def __init__(self, hub: Hub, *, kept: int = _KEPT) -> None:
        self._hub = hub
        self._kept = kept
        self._recent: OrderedDict[str, Decision] = OrderedDict()
        self._candidates = 0
        self._watchers: list[Callable[[Decision], None]] = []

    def __len__(self) -> int:
        return len(self._recent)

    def watch(self, watcher: Callable[[Decision], None]) -> None:
        """Call `watcher(decision)` for each that is added. It must not raise or take long."""
        self._watchers.append(watcher)

    def resize(self, kept: int) -> None:
        """Keep so many from now on; the oldest go."""
        self._kept = kept
        self._forget()

    def add(self, decision: Decision) -> None:
        """Keep it, let the oldest go, tell the hub."""
        self._recent[decision.id] = decision
        self._candidates += len(decision.candidates)
        self._forget()
        self._hub.publish_lazily(Topic.DECISIONS, decision.shown)
        for watcher in self._watchers:
            watcher(decision)

    def get(self, decision_id: str) -> Decision | None:
        """One of them, None when it was forgotten or never was."""
        return self._recent.get(decision_id)

    def newest_first(self) -> Iterator[Decision]:
        """All that are kept."""
        return reversed(self._recent.values())

    def find(
        self,
        *,
        limit: int,
        before: str | None = None,
        user_id: str | None = None,
        model: str | None = None,
        upstream: str | None = None,
        outcome: str | None = None,
    ) -> list[Decision]:
        """At most `limit`, the latest made first: older than the decision `before`, and of what is named."""
        found = (
            decision
            for decision in self._recent.values()
            if (before is None or decision.id < before)
            and (user_id is None or decision.user_id == user_id)
            and decision.concerns(model=model, upstream=upstream, outcome=outcome)
        )
        return nlargest(limit, found, key=lambda decision: decision.id)

    def _forget(self) -> None:
        while len(self._recent) > self._kept or (self._candidates > MOST_CANDIDATES and len(self._recent) > 1):
            _, oldest = self._recent.popitem(last=False)
            self._candidates -= len(oldest.candidates)
