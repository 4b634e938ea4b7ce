"""What an operator may set on the graph; the defaults are strict."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from citadel_edge.graph.bounds import Bounds
from citadel_edge.graph.cost_annotations import Measure, Weights
from citadel_edge.graph.lru import Room
from citadel_edge.graph.trusted import Trust


@dataclass(frozen=True, slots=True)
class GraphSettings:
    """Bounds and permissions.

    `measures`: of fields whose arguments together say what they cost. `introspection`: whether clients may read the
    schema. `trusted` are the operator's documents by id, `persisted` is the room for those that clients have kept, or
    null. Timeouts are in seconds: of a whole query or mutation, and of a subscription's start and of each of its
    events.
    """

    introspection: bool = True
    bounds: Bounds = field(default_factory=Bounds)
    weights: Weights = field(default_factory=Weights)
    measures: Mapping[str, Measure] = field(default_factory=dict)
    trust: Trust = Trust.OFF
    trusted: Mapping[str, str] = field(default_factory=dict)
    persisted: Room | None = field(default_factory=lambda: Room(1_000, 4_000_000))
    query_timeout_s: float = 30.0
    mutation_timeout_s: float = 660.0
    event_timeout_s: float = 30.0
