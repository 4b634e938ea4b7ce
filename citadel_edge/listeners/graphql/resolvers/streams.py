"""Generations that do not hang on their connections: how they are, and how they are stopped.

Users see their own, operators everybody's; another's stream is one that is not there. Its owner or an admin stops it.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from citadel_edge.listeners.common.readable import may_see, stopped
from citadel_edge.listeners.graphql.binding import Type
from citadel_edge.listeners.graphql.context import Context
from citadel_edge.listeners.graphql.resolvers.chat import DECISION, Ended
from citadel_edge.listeners.graphql.resolvers.connections import Connection, of_memory, wanted_page
from citadel_edge.listeners.graphql.resolvers.decisions import decision_of
from citadel_edge.listeners.graphql.resolvers.ids import global_id, plain_id
from citadel_edge.listeners.graphql.resolvers.told import Info, or_none, payload
from citadel_edge.streams.values import Info as StreamInfo


class _Asked(msgspec.Struct):
    model: str = ""


_ASKED = msgspec.json.Decoder(_Asked)


async def streams(_: None, info: Info, *, first: int | None, after: str | None = None) -> Connection:
    """Those that are being generated, latest first."""
    context, asked = info.context, wanted_page("Stream", first, after)
    found, complete = await context.edge.streams.running(may=may_see(context.principal))
    return of_memory(found, asked, key=_latest_first, complete=complete)


async def stream(_: None, info: Info, identity: str) -> StreamInfo | None:
    """One, running or over."""
    return await stream_of(info.context, plain_id("Stream", identity))


async def stream_of(context: Context, identity: str) -> StreamInfo | None:
    """The one of this id, if the caller may see it."""
    return await or_none(context.edge.streams.info(identity, may=may_see(context.principal)))


@payload
async def cancel_stream(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    """The generation ends at its engine."""
    streams, identity = context.edge.streams, plain_id("Stream", given["id"])
    before, after = await stopped(streams, identity, principal=context.principal)
    if before.terminal is not None:
        return {"stream": before, "tokens_saved": 0}
    return {"stream": after, "tokens_saved": None if after.terminal is None else after.terminal.tokens_saved}


def _latest_first(info: StreamInfo) -> str:
    """Rises as the time of creation falls; the id makes it unique."""
    return f"{10**17 - round(info.created_unix_s * 10**6):017d}{info.id}"


def _model(source: StreamInfo, _: Info) -> str:
    if source.begun is not None and source.begun.model:
        return source.begun.model
    return _ASKED.decode(source.origin.body).model


async def _decision(source: StreamInfo, info: Info) -> Mapping[str, Any] | None:
    begun = source.begun
    return await decision_of(info.context, None if begun is None else begun.headers.get(DECISION))


TYPES = {
    "Stream": Type(
        StreamInfo,
        {
            "id": lambda source, _: global_id("Stream", source.id),
            "plainId": "id",
            "userId": lambda source, _: global_id("User", source.owner.user_id),
            "model": _model,
            "upstream": lambda source, _: (source.begun.upstream or None) if source.begun else None,
            "decision": _decision,
            "onDisconnect": "policy.on_disconnect",
            "graceS": "policy.grace_s",
            "cursor": lambda source, _: str(source.cursor),
            "createdAt": "created_unix_s",
            "end": lambda source, _: None if source.terminal is None else Ended(source.terminal),
        },
    ),
    "CancelStreamPayload": Type(Mapping),
}
