"""A change of accounts on behalf of a client, the same at every door: carried to its end, made once, and counted.

Decides what is remembered of a create that named itself: all of its answer but secrets, so that a replay shows them as
null. Refuses to know what is changed, and how a client is answered.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter

from citadel_edge.accounts.changes import Changes
from citadel_edge.accounts.desk import Actor
from citadel_edge.accounts.once import Answer, Create, Replay
from citadel_edge.config.shape import ListenerName
from citadel_edge.edge import Edge
from citadel_edge.errors import RequestError

T = TypeVar("T")
CREATED: Final = 201


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What was made, as its client sees it, and (where that holds a secret) as a replay shows it."""

    shown: Any
    version: int
    replayed: Any = None

    @property
    def answer(self) -> Answer:
        """What is remembered."""
        kept = self.shown if self.replayed is None else self.replayed
        return Answer(status=CREATED, body=msgspec.json.encode(kept).decode(), version=self.version)


Make = Callable[[Changes], Coroutine[Any, Any, Made]]


class AccountsMetrics:
    """`citadel_accounts_changes_total` by outcome, and by the listener whose door took the change."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._changes = Counter(
            "citadel_accounts_changes", "Changes of accounts.", ["listener", "outcome"], registry=registry
        )

    def of(self, listener: ListenerName) -> "ChangesMetrics":
        """Of one door."""
        labels = self._changes.labels
        return ChangesMetrics(*(labels(listener.value, outcome) for outcome in ("made", "refused", "replayed")))


@dataclass(frozen=True, slots=True)
class ChangesMetrics:
    """One door's changes by what became of them."""

    made: Any
    refused: Any
    replayed: Any


@dataclass(frozen=True, slots=True)
class Changing:
    """How one door changes accounts."""

    edge: Edge
    listener: ListenerName
    metrics: ChangesMetrics

    async def carry(self, change: Coroutine[Any, Any, T]) -> T:
        """A change's result; it is carried to its end although the client leaves."""
        try:
            result = await self.edge.carry(change, listener=self.listener)
        except RequestError:
            self.metrics.refused.inc()
            raise
        (self.metrics.replayed if isinstance(result, Replay) else self.metrics.made).inc()
        return result

    async def create(self, make: Make, *, named: Create | None, by: Actor) -> Made | Replay:
        """Make it, or say what was answered when it was made before under the same name.

        Raises:
            RequestError: `IDEMPOTENCY_MISMATCH`, or whatever `make` raises.
        """
        changes = self.edge.changes
        if named is None:
            return await self.carry(make(changes))
        made: Made | Replay = await self.carry(changes.once(named, _remembering(make), by=by))
        return made


CHANGING: web.AppKey[Changing] = web.AppKey("changing", Changing)


def _remembering(make: Make) -> Callable[[Changes], Coroutine[Any, Any, tuple[Answer, Made]]]:
    async def made_and_remembered(changes: Changes) -> tuple[Answer, Made]:
        made = await make(changes)
        return made.answer, made

    return made_and_remembered
