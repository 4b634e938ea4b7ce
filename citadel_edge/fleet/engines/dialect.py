"""What the product must know of an engine to call it and to understand its refusals. Values; a dialect a file."""

from dataclasses import dataclass

from citadel_edge.config.shape import Engine

BUSY_STATUSES = frozenset({429, 503})


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One engine's habits.

    Attributes:
        probe_path: the cheapest question that says whether it would serve; never one that generates.
        busy: statuses that mean "full, come back": backpressure, never a fault.
        own_faults: statuses below 500 by which it reports a failure of its own.
    """

    engine: Engine
    probe_path: str
    busy: frozenset[int] = BUSY_STATUSES
    own_faults: frozenset[int] = frozenset()
