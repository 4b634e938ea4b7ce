"""`node`: anything by its global id, if the caller may read it; another's is not there."""

from collections.abc import Awaitable, Callable, Mapping
from inspect import isawaitable
from typing import Any

from citadel_edge.accounts import reads
from citadel_edge.accounts.api_keys import ApiKey
from citadel_edge.accounts.audit import AuditEntry
from citadel_edge.accounts.organisations import Organisation
from citadel_edge.accounts.principal import Role
from citadel_edge.accounts.tiers import Tier
from citadel_edge.accounts.top_ups import GivenTopUp
from citadel_edge.accounts.users import User
from citadel_edge.config.shape import ModelConfig
from citadel_edge.fleet.table import BreakerEntry, Row
from citadel_edge.listeners.graphql.context import Context
from citadel_edge.listeners.graphql.resolvers.accounts import organisation_of, tier_of, user_of
from citadel_edge.listeners.graphql.resolvers.decisions import decision_of
from citadel_edge.listeners.graphql.resolvers.ids import parse
from citadel_edge.listeners.graphql.resolvers.models import usable
from citadel_edge.listeners.graphql.resolvers.streams import stream_of
from citadel_edge.listeners.graphql.resolvers.told import Info, or_none
from citadel_edge.streams.values import Info as StreamInfo

Find = Callable[[Context, str], Any]


async def node(_: None, info: Info, identity: str) -> Any:
    """Null for an id that is none, or nothing's that the caller may read."""
    found = parse(identity)
    find = FINDS.get(found[0]) if found else None
    if found is None or find is None:
        return None
    result = find(info.context, found[1])
    return await result if isawaitable(result) else result


def type_of_node(value: Any, *_: Any) -> str:
    """The type that something found has in the contract."""
    return "Decision" if isinstance(value, Mapping) else NAMES[type(value)]


def _model(context: Context, name: str) -> ModelConfig | None:
    return next((one for one in usable(context) if one.name == name), None)


async def _top_up(context: Context, identity: str) -> GivenTopUp | None:
    found = await or_none(reads.get_top_up(context.edge.postgres, identity))
    if found is None or found.user_id == context.principal.user_id:
        return found
    return found if context.may(Role.OPERATOR) else None


def _for_operators(find: Find) -> Find:
    def found(context: Context, identity: str) -> Any | Awaitable[Any]:
        return find(context, identity) if context.may(Role.OPERATOR) else None

    return found


FINDS: Mapping[str, Find] = {
    "Model": _model,
    "Decision": decision_of,
    "Stream": stream_of,
    "User": user_of,
    "TopUp": _top_up,
    "Upstream": _for_operators(lambda context, identity: context.edge.fleet.table.rows.get(identity)),
    "Breaker": _for_operators(lambda context, identity: context.edge.fleet.table.breakers.get(identity)),
    "Organisation": _for_operators(organisation_of),
    "Tier": _for_operators(tier_of),
    "ApiKey": _for_operators(lambda context, identity: or_none(reads.find_key(context.edge.postgres, identity))),
    "AuditEntry": _for_operators(lambda context, identity: reads.get_entry(context.edge.postgres, identity)),
}
NAMES: Mapping[type, str] = {
    ModelConfig: "Model",
    StreamInfo: "Stream",
    User: "User",
    GivenTopUp: "TopUp",
    Row: "Upstream",
    BreakerEntry: "Breaker",
    Organisation: "Organisation",
    Tier: "Tier",
    ApiKey: "ApiKey",
    AuditEntry: "AuditEntry",
}
