"""What probes change of a row: its health, and what it says of itself.

Decides when a row turns, and which calls a dead one will not answer. Refuses to know how it is asked and who is told.
Times are monotonic seconds.
"""

import math
from dataclasses import dataclass
from typing import Final

from citadel_edge.fleet.engines.facts import Facts
from citadel_edge.fleet.engines.known import dialect_of
from citadel_edge.fleet.row import Health, Row, Ticket

UNHEALTHY_AFTER: Final = 2
SILENT_S: Final = 1.0
LONG_SILENT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class HealthChange:
    """A row's health turned."""

    row: Row
    old: Health
    new: Health
    detail: str


def answered(row: Row, detail: str, *, now: float) -> HealthChange | None:
    """A probe succeeded; one success is enough. Its breaker, if it is open, is due for its own probe at once."""
    row.probe_failures = 0
    row.failing_since = math.inf
    if not row.healthy:
        row.healthy_since = now if row.late or row.health is Health.UNHEALTHY else -math.inf
        row.breaker.hurry(now)
        row.signals.renew()
    return _turn(row, Health.HEALTHY, detail)


def failed(row: Row, detail: str, *, at_once: bool, asked: float) -> HealthChange | None:
    """A probe that was sent at `asked` failed. The second in a row counts; the first, if `at_once`: nobody listens."""
    row.probe_failures += 1
    row.failing_since = min(row.failing_since, asked)
    if at_once or row.probe_failures >= UNHEALTHY_AFTER:
        return _turn(row, Health.UNHEALTHY, detail)
    return None


def lost(row: Row, *, now: float) -> list[Ticket]:
    """The calls that an unhealthy row will hardly answer: no byte since its probes fail, or for long.

    A replica that shuts down in order takes no new connections and still answers old ones: hence the grace of
    `SILENT_S` since the first failure.
    """
    if row.health is not Health.UNHEALTHY or row.failing_since > now - SILENT_S:
        return []
    silent_since = max(row.failing_since, now - LONG_SILENT_S)
    return [call for call in row.calls if call.on_lost is not None and call.last_byte_at < silent_since]


def learn(row: Row, facts: Facts, *, models: list[str]) -> None:
    """Note what a replica says of itself; `models` are its deployments', by the engine's own names."""
    if facts.slots is not None:
        row.learned_slots = facts.slots
        settle_slots(row)
    if facts.sleeping is not None:
        row.sleeping = facts.sleeping
    if facts.any_context is not None:
        row.context_tokens.update(dict.fromkeys(models, facts.any_context))
    row.context_tokens.update(facts.contexts)


def settle_slots(row: Row) -> None:
    """As configured, else as it says, else its engine's way."""
    row.slots = row.configured_slots or row.learned_slots or dialect_of(row.engine).slots


def _turn(row: Row, new: Health, detail: str) -> HealthChange | None:
    old, row.health, row.health_detail = row.health, new, detail
    return None if old is new else HealthChange(row, old, new, detail)
