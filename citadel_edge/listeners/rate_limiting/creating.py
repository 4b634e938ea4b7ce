"""A create on behalf of a client: made once however often it is sent with an `Idempotency-Key`."""

import msgspec
from aiohttp import web

from citadel_edge.accounts.once import Answer, Create, Replay
from citadel_edge.listeners.common.changing import CHANGING, CREATED, Make
from citadel_edge.listeners.common.idempotency import REPLAYED, key_of
from citadel_edge.listeners.common.payload import actor, one
from citadel_edge.listeners.common.routes import BODY, principal_of


async def created(request: web.Request, make: Make) -> web.Response:
    """Make it, or answer as when it was made before.

    Raises:
        RequestError: `IDEMPOTENCY_MISMATCH`, a key that is none, or whatever `make` raises.
    """
    made = await request.app[CHANGING].create(make, named=_named(request), by=actor(request))
    if isinstance(made, Replay):
        return _replayed(made.answer)
    return one(made.shown, version=made.version, status=CREATED)


def _named(request: web.Request) -> Create | None:
    """The create by the name its client gave it; null without one."""
    key = key_of(request)
    if key is None:
        return None
    return Create.of(caller=principal_of(request).user_id, path=request.path, key=key, body=request[BODY])


def _replayed(answer: Answer) -> web.Response:
    replay = one(msgspec.Raw(answer.body.encode()), version=answer.version, status=answer.status)
    replay.headers[REPLAYED] = "true"
    return replay
