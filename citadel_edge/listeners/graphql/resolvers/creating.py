"""Creates that are sent twice, made once: `idempotencyKey` of an input. The same table as at rate-limiting-api.

Decides what names a create: the caller, the mutation, the key. Refuses to know what is made.
"""

from typing import Any

import msgspec

from citadel_edge.accounts.once import Create, Replay, checked_key
from citadel_edge.listeners.common.changing import Make
from citadel_edge.listeners.graphql.context import Context


async def created(context: Context, mutation: str, given: dict[str, Any], make: Make) -> tuple[Any, bool]:
    """What was made as JSON knows it, and whether that was before.

    Raises:
        RequestError: IDEMPOTENCY_MISMATCH, a key that is none, or whatever `make` raises.
    """
    made = await context.parts.changing.create(make, named=_named(context, mutation, given), by=context.actor)
    if isinstance(made, Replay):
        return msgspec.json.decode(made.answer.body), True
    return msgspec.to_builtins(made.shown), False


def _named(context: Context, mutation: str, given: dict[str, Any]) -> Create | None:
    key = given.get("idempotency_key")
    if key is None:
        return None
    body = msgspec.json.encode({name: value for name, value in given.items() if name != "idempotency_key"})
    caller = context.principal.user_id
    return Create.of(caller=caller, path=f"/graphql#{mutation}", key=checked_key(key), body=body)
