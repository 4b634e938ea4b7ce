"""What an operator may set on the graph; the defaults are strict."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GraphSettings:
    """Bounds and permissions.

    `introspection`: whether clients may read the schema. Timeouts are in seconds: of a whole query or mutation, and of
    a subscription's start and of each of its events.
    """

    introspection: bool = True
    query_timeout_s: float = 30.0
    mutation_timeout_s: float = 660.0
    event_timeout_s: float = 30.0
