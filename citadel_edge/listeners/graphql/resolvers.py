"""The root resolvers. Each reads the edge and answers plain values; nothing is decided here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from graphql import GraphQLError, GraphQLResolveInfo

from citadel_edge.accounts.principal import Principal, Role
from citadel_edge.config.shape import ListenerName, ModelConfig
from citadel_edge.edge import Edge
from citadel_edge.errors import Code

Resolver = Callable[..., Any]
Row = Mapping[str, Any]
Info = GraphQLResolveInfo[Any]


@dataclass(frozen=True, slots=True)
class Context:
    """What a resolver may look at."""

    edge: Edge
    principal: Principal


def viewer(_: None, info: Info) -> Row:
    """The caller."""
    who = _context(info).principal
    return {
        "id": who.user_id,
        "name": who.name,
        "role": who.role.name,
        "tier": who.tier,
        "organisationId": who.organisation_id,
    }


def models(_: None, info: Info) -> list[Row]:
    """What the caller may use."""
    context = _context(info)
    return [_model(m) for m in context.edge.config.value.models if context.principal.may_use(m.name)]


def model(_: None, info: Info, name: str) -> Row | None:
    """One of them, by name or alias."""
    context = _context(info)
    found = (m for m in context.edge.config.value.models if name == m.name or name in m.aliases)
    return next((_model(m) for m in found if context.principal.may_use(m.name)), None)


def upstreams(_: None, info: Info) -> list[Row]:
    """The live table."""
    edge = _demand(info, Role.OPERATOR).edge
    return [
        {
            "id": row.id,
            "engine": row.engine.value,
            "state": row.state.value,
            "healthy": row.healthy,
            "inFlight": row.in_flight,
            "slots": row.slots,
            "breaker": row.breaker.state.name,
        }
        for row in edge.fleet.table.rows.values()
    ]


def listeners(_: None, info: Info) -> list[Row]:
    """The four doors."""
    edge = _demand(info, Role.OPERATOR).edge
    return [_listener(edge, name) for name in ListenerName]


def services(_: None, info: Info) -> list[Row]:
    """The board's checks."""
    checks = _context(info).edge.board.checks()
    return [
        {"name": name, "status": c.condition.value, "detail": c.detail, "latencyMs": c.latency_ms}
        for name, c in checks.items()
    ]


QUERIES: Mapping[str, Resolver] = {
    "viewer": viewer,
    "models": models,
    "model": model,
    "upstreams": upstreams,
    "listeners": listeners,
    "services": services,
}


def _context(info: Info) -> Context:
    context: Context = info.context
    return context


def _demand(info: Info, role: Role) -> Context:
    context = _context(info)
    if not context.principal.role.may(role):
        raise GraphQLError(f"this field needs the role {role.value}", extensions={"code": Code.FORBIDDEN.text})
    return context


def _model(m: ModelConfig) -> Row:
    return {
        "name": m.name,
        "aliases": m.aliases,
        "contextTokens": m.context_tokens,
        "capabilities": [c.value for c in m.capabilities],
        "inputUsdPerMtok": m.price.input_per_mtok_usd,
        "outputUsdPerMtok": m.price.output_per_mtok_usd,
    }


def _listener(edge: Edge, name: ListenerName) -> Row:
    verdict = edge.board.verdict(name)
    held = edge.budgets[name].snapshot()
    return {
        "name": name.value,
        "state": edge.board.states[name].value,
        "status": verdict.status.value,
        "message": verdict.message,
        "tasks": held["tasks"],
        "queued": held["queued"],
        "bytes": held["bytes"],
    }
