"""`POST /v1/tickets`: one-time tickets for addresses that browsers open without headers.

Decides what a ticket is worth: one entry, within 30 seconds, as whoever holds the key it was asked for with; a key that
was revoked meanwhile opens nothing. Kept by its digest alone: in Redis, so that it is good at every instance and once
among them; in memory, and good at this instance, while Redis is away. It looks like a key of ours, so that the log
redacts it wherever it might turn up.
"""

import hashlib
import secrets
from collections import OrderedDict
from typing import Final

from aiohttp import web

from citadel_edge.accounts.directory import Directory
from citadel_edge.accounts.principal import Principal
from citadel_edge.errors import Code, RedisUnavailable, RequestError
from citadel_edge.listeners.common.payload import one
from citadel_edge.listeners.common.routes import Route, principal_of
from citadel_edge.storage.redis_pool import RedisPool
from citadel_edge.telemetry.clock import Clock

LIFE_S: Final = 30
MOST_HELD: Final = 10_000
_PREFIX: Final = "cit_ticket_"
_SECRET_BYTES: Final = 32
_LONGEST: Final = 128


class Tickets:
    """The tickets that are out."""

    def __init__(self, redis: RedisPool, directory: Directory, *, clock: Clock) -> None:
        self._redis = redis
        self._directory = directory
        self._clock = clock
        self._held: OrderedDict[str, tuple[float, str]] = OrderedDict()

    async def issue(self, principal: Principal) -> str:
        """A ticket for this caller. It always succeeds: without Redis it is good at this instance alone."""
        text = _new()
        try:
            await self._redis.call("SET", _digest(text), principal.key_id, "EX", LIFE_S)
        except RedisUnavailable:
            return self._hold(principal.key_id)  # another one: what was sent may have been stored
        return text

    async def redeem(self, text: str) -> Principal:
        """Who a ticket was given to; it is worth nothing afterwards.

        Raises:
            RequestError: `INVALID_API_KEY`: unknown, used, or its time is over; else as `Directory.holder`.
            RedisUnavailable: it cannot be known.
        """
        key_id = self._take(_digest(text)) if len(text) <= _LONGEST else None
        if key_id is None and text.startswith(_PREFIX) and len(text) <= _LONGEST:
            stored = await self._redis.call("GETDEL", _digest(text))
            key_id = None if stored is None else bytes(stored).decode()
        if key_id is None:
            raise RequestError(
                Code.INVALID_API_KEY,
                f"the ticket is unknown, used, or older than {LIFE_S} s; ask for a new one: POST /v1/tickets",
            )
        return await self._directory.holder(key_id)

    def _hold(self, key_id: str) -> str:
        """A ticket of this instance; the oldest gives way when there are too many."""
        text = _new()
        self._held[_digest(text)] = self._clock.monotonic_s() + LIFE_S, key_id
        while len(self._held) > MOST_HELD or self._first_until_s() <= self._clock.monotonic_s():
            self._held.popitem(last=False)
        return text

    def _take(self, digest: str) -> str | None:
        until_s, key_id = self._held.pop(digest, (0.0, ""))
        return key_id if until_s > self._clock.monotonic_s() else None

    def _first_until_s(self) -> float:
        return next(iter(self._held.values()))[0]


TICKETS = web.AppKey("tickets", Tickets)


async def issue(request: web.Request) -> web.StreamResponse:
    """`POST /v1/tickets`."""
    ticket = await request.app[TICKETS].issue(principal_of(request))
    answer = one({"ticket": ticket, "expires_in_s": LIFE_S}, status=201)
    answer.headers["Cache-Control"] = "no-store"
    return answer


def ticket_routes() -> list[Route]:
    """Anybody with a key may have tickets for it."""
    return [
        Route(
            method="POST",
            path="/v1/tickets",
            handler=issue,
            summary="A one-time ticket for ?ticket=, where a browser cannot set headers",
            response={
                "type": "object",
                "required": ["ticket", "expires_in_s"],
                "properties": {"ticket": {"type": "string"}, "expires_in_s": {"type": "integer"}},
            },
            status=201,
        )
    ]


def _new() -> str:
    return _PREFIX + secrets.token_urlsafe(_SECRET_BYTES)


def _digest(text: str) -> str:
    """What a ticket is kept by, and the name of its key in Redis."""
    return f"citadel:tickets:{hashlib.sha256(text.encode(errors='replace')).hexdigest()}"
