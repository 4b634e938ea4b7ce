"""All of them, as the contract has them: the roots' resolvers, how types are read, what makes events."""

from collections.abc import Mapping

from citadel_edge.listeners.graphql.binding import Resolver, Type
from citadel_edge.listeners.graphql.resolvers import (
    accounts,
    changes,
    chat,
    decisions,
    fleet,
    health,
    live,
    metrics,
    models,
    node,
    quotas,
    streams,
    usage,
)
from citadel_edge.listeners.graphql.resolvers.connections import Connection, Item, PageInfo

QUERIES: Mapping[str, Resolver] = {
    "node": node.node,
    "viewer": accounts.viewer,
    "models": models.models,
    "model": models.model,
    "upstreams": fleet.upstreams,
    "upstream": fleet.upstream,
    "breakers": fleet.breakers,
    "listeners": health.listeners,
    "services": health.services,
    "decisions": decisions.decisions,
    "decision": decisions.decision,
    "explainRoute": decisions.explain_route,
    "streams": streams.streams,
    "stream": streams.stream,
    "users": accounts.users,
    "user": accounts.user,
    "tiers": accounts.tiers,
    "tier": accounts.tier,
    "organisations": accounts.organisations,
    "usage": usage.usage,
    "metric": metrics.metric,
    "operationPatterns": metrics.operation_patterns,
    "estimate": decisions.estimate,
    "audit": accounts.audit,
}
MUTATIONS: Mapping[str, Resolver] = {
    "chat": chat.chat,
    "createUser": changes.create_user,
    "updateUser": changes.update_user,
    "deleteUser": changes.delete_user,
    "createApiKey": changes.create_api_key,
    "rotateApiKey": changes.rotate_api_key,
    "revokeApiKey": changes.revoke_api_key,
    "createTier": changes.create_tier,
    "updateTier": changes.update_tier,
    "deleteTier": changes.delete_tier,
    "overrideQuota": quotas.override_quota,
    "topUpQuota": quotas.top_up_quota,
    "updateUpstream": fleet.update_upstream,
    "resetBreaker": fleet.reset_breaker,
    "tripBreaker": fleet.trip_breaker,
    "cancelStream": streams.cancel_stream,
    "sendFeedback": decisions.send_feedback,
    "reloadConfig": health.reload_config,
}
SUBSCRIPTIONS: Mapping[str, Resolver] = {"chat": chat.chat_live, "stream": chat.stream_live, **live.LIVE}

_LISTED = (
    "Model Upstream Breaker Decision Stream User ApiKey TopUp Tier Organisation AuditEntry".split()  # noqa: SIM905
)
_QUOTA: Mapping[str, Resolver] = {"quota": lambda source, info: quotas.quota_of(info.context, source.user_id)}
_OF_USERS: Mapping[str, Resolver] = {
    "quota": lambda source, info: quotas.quota_of(info.context, source.id),
    "topUps": quotas.top_ups,
}


def _with(known: Type, more: Mapping[str, Resolver]) -> Type:
    return Type(known.source, {**known.reads, **more})


_SUBJECTS = (models, fleet, health, decisions, streams, accounts, quotas, changes, chat, live, usage, metrics)
_PLAIN: Mapping[str, Type] = {name: kind for subject in _SUBJECTS for name, kind in subject.TYPES.items()}
TYPES: Mapping[str, Type] = {
    **_PLAIN,
    "Viewer": _with(_PLAIN["Viewer"], _QUOTA),
    "User": _with(_PLAIN["User"], _OF_USERS),
    "PageInfo": Type(PageInfo),
    **{f"{name}Connection": Type(Connection) for name in _LISTED},
    **{f"{name}Edge": Type(Item) for name in _LISTED},
}
NODE_TYPE = node.type_of_node
