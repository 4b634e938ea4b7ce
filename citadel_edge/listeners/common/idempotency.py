"""`Idempotency-Key`: the name that a client gives to what shall happen once."""

from typing import Final

from aiohttp import web

from citadel_edge.accounts.once import checked_key
from citadel_edge.errors import Code, RequestError

KEY: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotency-Replayed"


def key_of(request: web.Request) -> str | None:
    """The client's name for this request; null without one.

    Raises:
        RequestError: INVALID_REQUEST, more than one, or one that is no key.
    """
    keys = request.headers.getall(KEY, [])
    if not keys:
        return None
    if len(keys) > 1:
        raise RequestError(Code.INVALID_REQUEST, f"Expected one {KEY}.", param=KEY)
    return checked_key(keys[0])
