"""The typed shape of the graph's configuration. Values only."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from citadel_edge.config.fields import STRICT, Count, File, NonNegative, Positive, Switch


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphQLConfig:
    """What clients may do with the graph.

    Attributes:
        introspection, playground: whether there is one; null: everywhere but in production.
        trusted_documents: whether those in the folder `documents` may be asked for by their ids (`prefer`), or
            nothing else may be asked for (`only`).
        query_timeout_s: of a query, and of a subscription's start and each of its events.
        cost_limit: what one operation may cost, its query and the tokens of its chats together. cost_limits: by tier,
            where a tier's is another.
        cost_per_token: what a token of a chat counts in it, of the prompt or of the answer; a plain field counts 1.
    """

    __pydantic_config__ = STRICT
    introspection: Switch | None = None
    playground: Switch | None = None
    trusted_documents: Literal["off", "prefer", "only"] = "off"
    documents: File = Path("./config/graphql")
    query_timeout_s: Positive = 30.0
    cost_limit: Count = 5000
    cost_limits: dict[str, Count] = field(default_factory=dict)
    cost_per_token: NonNegative = 0.02
