"""The four doors and what this process depends on, as last seen; and how the configuration is read anew."""

from collections.abc import Mapping
from typing import Any

from citadel_edge.config.shape import ListenerName
from citadel_edge.edge import Edge
from citadel_edge.errors import Code, RequestError
from citadel_edge.listeners.graphql.binding import Type
from citadel_edge.listeners.graphql.context import Context
from citadel_edge.listeners.graphql.resolvers.told import Info, UserError, payload


def listeners(_: None, info: Info) -> list[dict[str, Any]]:
    """The four doors."""
    return [listener_row(info.context.edge, name) for name in ListenerName]


def services(_: None, info: Info) -> list[dict[str, Any]]:
    """The board's checks."""
    checks = info.context.edge.board.checks()
    return [
        {"name": name, "status": c.condition, "detail": c.detail, "latency_ms": c.latency_ms}
        for name, c in checks.items()
    ]


def listener_row(edge: Edge, name: ListenerName) -> dict[str, Any]:
    """One door: its state, its health and what it holds."""
    verdict = edge.board.verdict(name)
    held = edge.budgets[name].snapshot()
    return {
        "name": name.value,
        "state": edge.board.states[name],
        "status": verdict.status,
        "message": verdict.message,
        **{figure: held[figure] for figure in ("tasks", "queued", "spawned", "bytes")},
    }


@payload
async def reload_config(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    """As SIGHUP does; the answer says what became of it."""
    if context.parts.reload is None:
        raise RequestError(Code.CONFLICT, "This process was started without a configuration that can be read anew.")
    context.edge.logs.logger().info("reload asked for", by=context.principal.user_id, reason=given.get("reason"))
    found = await context.edge.carry(_reloaded(context), listener=context.parts.changing.listener)
    mistakes = tuple(UserError(code=Code.INVALID_REQUEST.text, message=words) for words in found["errors"])
    return {**found, "errors": mistakes}


async def _reloaded(context: Context) -> Mapping[str, list[str]]:
    reload = context.parts.reload
    return {} if reload is None else await reload()


TYPES = {
    "Listener": Type(Mapping),
    "Service": Type(Mapping),
    "ReloadConfigPayload": Type(
        Mapping,
        {
            name: lambda source, _, key=key: source.get(key, ())
            for name, key in (("applied", "applied"), ("needsRestart", "needs_restart"), ("ignored", "ignored"))
        },
    ),
}
