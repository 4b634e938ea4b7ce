"""What a resolver may look at: the edge, the caller, and what the request brought.

Decides who counts as allowed (`demand`). Refuses to know how the request came: each transport fills one in for each
operation.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from citadel_edge.accounts.desk import Actor
from citadel_edge.accounts.principal import Principal, Role
from citadel_edge.budgets.budget import Seat
from citadel_edge.completions.call import hold_uncounted
from citadel_edge.edge import Edge
from citadel_edge.errors import Code, RequestError
from citadel_edge.graph.context import Spent
from citadel_edge.listeners.common.changing import Changing
from citadel_edge.listeners.graphql.loaders import Loader
from citadel_edge.listeners.graphql.operation_book import OperationBook

Reload = Callable[[], Awaitable[Mapping[str, list[str]]]]
"""Reads the configuration anew: paths that were `applied`, that `needs_restart` or are `ignored`; `errors`."""


def unheard(_facts: Mapping[str, Any]) -> None:
    """Nobody logs it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the door has for all its requests.

    Attributes:
        reload: None where nobody can read the configuration anew.
        operations: what clients ask of the graph; None where nobody counts.
    """

    edge: Edge
    changing: Changing
    reload: Reload | None = None
    operations: OperationBook | None = None


@dataclass(slots=True, kw_only=True)
class Context:
    """One operation's.

    Attributes:
        request_id: the request's, or for one of many on a connection its own.
        traceparent: to pass on.
        seat: of the listener's budget, where the request took one; a generation that outlives it keeps it.
        hold: told how many bytes more the operation makes its listener hold.
        note: told facts for the request's line in the log.
        spent: what resolvers spent beside the query's own cost.
        loaders: of this operation, by name.
    """

    parts: Parts
    principal: Principal
    request_id: str
    traceparent: str
    seat: Seat | None = None
    hold: Callable[[int], None] = hold_uncounted
    note: Callable[[Mapping[str, Any]], None] = unheard
    spent: Spent = field(default_factory=Spent)
    loaders: dict[str, Loader[Any, Any]] = field(default_factory=dict)

    @property
    def edge(self) -> Edge:
        """What it is all about."""
        return self.parts.edge

    @property
    def actor(self) -> Actor:
        """Who answers for a change."""
        return Actor.of(self.principal, self.request_id)

    def may(self, role: Role) -> bool:
        """Whether the caller's role covers this one."""
        return self.principal.role.may(role)

    def demand(self, role: Role) -> None:
        """Raise `RequestError` FORBIDDEN unless the caller's role covers this one."""
        if not self.may(role):
            raise RequestError(
                Code.FORBIDDEN,
                f"this field needs the role {role.value}; this key's user has {self.principal.role.value}",
            )
