"""An operation's price: before it runs by its plan, and afterwards by what it answered. Pure."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from citadel_edge.graph.cost import Term, Values
from citadel_edge.graph.cost_answered import Kind, answered
from citadel_edge.graph.cost_collect import CostObjection


@dataclass(frozen=True, slots=True)
class Price:
    """An operation's price for any variables; `objection` says why it has none, `root` counts what it answered."""

    term: Term = field(default_factory=Term)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    root: Kind = field(default_factory=Kind)
    objection: str | None = None

    def of(self, variables: Values) -> float:
        """The price with these variables, never below 0. Raises CostObjection."""
        if self.objection is not None:
            raise CostObjection(self.objection)
        if not self.term.parts:
            return max(self.term.known, 0.0)
        return max(self.term.price({**self.defaults, **variables}, {}), 0.0)

    def answered(self, data: Mapping[str, Any], variables: Values) -> Generator[None, None, float]:
        """What these data cost; each yield is a chance to let others run."""
        return answered(self.root, data, {**self.defaults, **variables})
