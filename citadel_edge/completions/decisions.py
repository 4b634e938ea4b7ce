"""The decisions of late, for whoever asks why. Refuses to know how one is made."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from citadel_edge.routing.decision import Decision
from citadel_edge.telemetry.hub import Hub, Topic

_KEPT: Final = 2048


class Decisions:
    """A bounded memory of decisions, each told on the hub when it is over."""

    def __init__(self, hub: Hub, *, kept: int = _KEPT) -> None:
        self._hub = hub
        self._kept = kept
        self._recent: OrderedDict[str, Decision] = OrderedDict()

    def add(self, decision: Decision) -> None:
        """Keep it, let the oldest go, tell the hub."""
        self._recent[decision.id] = decision
        if len(self._recent) > self._kept:
            self._recent.popitem(last=False)
        self._hub.publish(Topic.DECISIONS, decision.shown())

    def get(self, decision_id: str) -> Decision | None:
        """One of them, None when it was forgotten or never was."""
        return self._recent.get(decision_id)

    def newest_first(self) -> Iterator[Decision]:
        """All that are kept."""
        return reversed(self._recent.values())
