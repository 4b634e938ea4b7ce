"""How a checked request ends: settled with what it took, kept alive, or given back. By the reservation's id alone.

Each is carried to its end although the asking service leaves, so that a settlement and its usage row are one thing. One
of another instance is accepted while Redis is away (202), and carried out when it is back.
"""

from collections.abc import Coroutine
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Annotated, Any, TypeVar

import msgspec
from aiohttp import web

from citadel_edge.accounts.ledger.event import Outcome
from citadel_edge.accounts.principal import Role
from citadel_edge.edge import EDGE, Edge
from citadel_edge.limits.redis_store import organisation_of
from citadel_edge.limits.values import Spent, nano_of
from citadel_edge.listeners.common.middlewares import LISTENER
from citadel_edge.listeners.common.payload import one, read
from citadel_edge.listeners.common.routes import Handler, Route
from citadel_edge.listeners.rate_limiting.check import TTL_S, Life, Tokens
from citadel_edge.listeners.rate_limiting.reservations import (
    charge_of,
    known_model,
    meta_of,
    usage_row,
)
from citadel_edge.listeners.rate_limiting.schemas import answered, bounded

T = TypeVar("T")

ReservationId = Annotated[str, msgspec.Meta(pattern="^res_[0-9A-Za-z]+_[0-9a-f]{32}$", max_length=128)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What the request took, as counted."""

    reservation: ReservationId
    tokens_in: Tokens
    tokens_out: Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """How much longer it lives, from now; `tokens`: what it has taken by now, and keeps if nobody settles it."""

    reservation: ReservationId
    ttl_s: Life | None = None
    tokens: Tokens | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A request that took nothing."""

    reservation: ReservationId


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """How it was settled. `cost_usd`: by the price of the model that the check named, if it has one.

    `late`: it had expired; what it kept until now is put right. Null are both as long as that is not known: with 202.
    """

    reservation: str
    tokens_in: int
    tokens_out: int
    cost_usd: float | None
    late: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """How long it lives from now."""

    reservation: str
    expires_in_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """All was given back. `late`: it had expired; null: not known yet, with 202."""

    reservation: str
    late: bool | None


@dataclass(slots=True, eq=False)
class _Bill:
    """What a service says that a request took; from now on, whenever it is settled.

    `cost_usd`: null until it is known which model the reservation was for.
    """

    edge: Edge
    wanted: Settlement
    ended_unix_s: float
    cost_usd: Decimal | None = None

    def charge(self, meta: bytes) -> tuple[Spent, str]:
        """See `Bill`. The price is that of the model that the check named."""
        wanted, model = self.wanted, meta_of(meta).model
        known = known_model(self.edge, model)
        self.cost_usd = Decimal(0) if known is None else known.cost_usd(wanted.tokens_in, wanted.tokens_out)
        return Spent(1, wanted.tokens_in + wanted.tokens_out, nano_of(self.cost_usd)), model

    def settled(self, meta: bytes) -> None:
        """See `Bill`."""
        row = usage_row(
            self.edge,
            meta_of(meta),
            organisation_id=organisation_of(self.wanted.reservation) or "",
            outcome=Outcome.DONE,
            tokens=(self.wanted.tokens_in, self.wanted.tokens_out),
            cost_usd=self.cost_usd or Decimal(0),
            ended_unix_s=self.ended_unix_s,
        )
        self.edge.ledger.record(row)


async def settle(request: web.Request) -> web.StreamResponse:
    """`POST /v1/settle`."""
    wanted, edge = read(request, Settlement), request.app[EDGE]
    bill = _Bill(edge, wanted, edge.clock.unix_s())
    ended = await _carried(request, edge.limiter.settle_id(wanted.reservation, bill))
    answer = Settled(
        reservation=wanted.reservation,
        tokens_in=wanted.tokens_in,
        tokens_out=wanted.tokens_out,
        cost_usd=None if bill.cost_usd is None else float(bill.cost_usd),
        late=None if ended is None else ended.late,
    )
    return _told(answer, done=ended is not None)


async def renew(request: web.Request) -> web.StreamResponse:
    """`POST /v1/renew`."""
    wanted, edge = read(request, Renewal), request.app[EDGE]
    ttl_s, kept = wanted.ttl_s or TTL_S, None
    if wanted.tokens is not None:
        kept = partial(_kept, edge, wanted.tokens)
    done = await _carried(request, edge.limiter.renew_id(wanted.reservation, ttl_s, kept))
    return _told(Renewed(reservation=wanted.reservation, expires_in_s=ttl_s), done=done)


async def release(request: web.Request) -> web.StreamResponse:
    """`POST /v1/release`."""
    reservation = read(request, Release).reservation
    ended = await _carried(request, request.app[EDGE].limiter.release_id(reservation))
    return _told(Released(reservation=reservation, late=None if ended is None else ended.late), done=ended is not None)


def _kept(edge: Edge, tokens: int, meta: bytes) -> Spent:
    return charge_of(known_model(edge, meta_of(meta).model), tokens)


def _told(answer: Settled | Renewed | Released, *, done: bool) -> web.Response:
    return one(answer, status=200 if done else 202)


async def _carried(request: web.Request, change: Coroutine[Any, Any, T]) -> T:
    return await request.app[EDGE].carry(change, listener=request.app[LISTENER])


def settle_routes() -> list[Route]:
    """How a reservation ends, or goes on."""
    return [
        _route("/v1/settle", settle, "End a reservation with what was taken; once", Settlement, Settled),
        _route("/v1/renew", renew, "Let a reservation live on", Renewal, Renewed),
        _route("/v1/release", release, "Give back all that a reservation took", Release, Released),
    ]


def _route(path: str, handler: Handler, summary: str, asked: type, told: type) -> Route:
    return Route(
        method="POST",
        path=path,
        handler=handler,
        summary=summary,
        role=Role.SERVICE,
        json_body=True,
        may_wait=True,
        request=bounded(asked),
        response=answered(told),
    )
