"""A create on behalf of a client: carried to its end, and made once however often it is sent with an `Idempotency-Key`.

Decides what is remembered of an answer: all of it but secrets, so that a replay shows them as null.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from aiohttp import web

from citadel_edge.accounts.changes import Changes
from citadel_edge.accounts.once import Answer, Create, Replay
from citadel_edge.edge import EDGE
from citadel_edge.listeners.common.idempotency import REPLAYED, key_of
from citadel_edge.listeners.common.payload import actor, one
from citadel_edge.listeners.common.routes import BODY, principal_of
from citadel_edge.listeners.rate_limiting.carry import carried

_CREATED: Final = 201


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What was made, as its client sees it, and (where that holds a secret) as a replay shows it."""

    shown: Any
    version: int
    replayed: Any = None

    @property
    def answer(self) -> Answer:
        """What is remembered."""
        kept = self.shown if self.replayed is None else self.replayed
        return Answer(status=_CREATED, body=msgspec.json.encode(kept).decode(), version=self.version)


Make = Callable[[Changes], Coroutine[Any, Any, Made]]


async def created(request: web.Request, make: Make) -> web.Response:
    """Make it, or answer as when it was made before.

    Raises:
        RequestError: `IDEMPOTENCY_MISMATCH`, a key that is none, or whatever `make` raises.
    """
    changes = request.app[EDGE].changes
    create = _named(request)
    if create is None:
        made: Made | Replay = await carried(request, make(changes))
    else:
        made = await carried(request, changes.once(create, _remembering(make), by=actor(request)))
    if isinstance(made, Replay):
        return _replayed(made.answer)
    return one(made.shown, version=made.version, status=_CREATED)


def _named(request: web.Request) -> Create | None:
    """The create by the name its client gave it; null without one."""
    key = key_of(request)
    if key is None:
        return None
    return Create.of(caller=principal_of(request).user_id, path=request.path, key=key, body=request[BODY])


def _remembering(make: Make) -> Callable[[Changes], Coroutine[Any, Any, tuple[Answer, Made]]]:
    async def made_and_remembered(changes: Changes) -> tuple[Answer, Made]:
        made = await make(changes)
        return made.answer, made

    return made_and_remembered


def _replayed(answer: Answer) -> web.Response:
    replay = one(msgspec.Raw(answer.body.encode()), version=answer.version, status=answer.status)
    replay.headers[REPLAYED] = "true"
    return replay
