"""How a checked request ends: settled with what it took, kept alive, or given back. By the reservation's id alone.

Each is carried to its end although the asking service leaves, so that a settlement and its usage row are one thing.
"""

from collections.abc import Coroutine
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, TypeVar

import msgspec
from aiohttp import web

from citadel_edge.accounts.ledger.event import Outcome
from citadel_edge.accounts.principal import Role
from citadel_edge.edge import EDGE, Edge
from citadel_edge.errors import Code, RequestError
from citadel_edge.limits.redis_store import organisation_of
from citadel_edge.limits.values import Spent, nano_of
from citadel_edge.listeners.common.middlewares import LISTENER
from citadel_edge.listeners.common.payload import one, read
from citadel_edge.listeners.common.routes import Handler, Route
from citadel_edge.listeners.rate_limiting.check import TTL_S, Life, Tokens
from citadel_edge.listeners.rate_limiting.reservations import (
    Meta,
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

    `late`: it had expired; what it kept until now is put right.
    """

    reservation: str
    tokens_in: int
    tokens_out: int
    cost_usd: float
    late: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """How long it lives from now."""

    reservation: str
    expires_in_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """All was given back. `late`: it had expired."""

    reservation: str
    late: bool


async def settle(request: web.Request) -> web.StreamResponse:
    """`POST /v1/settle`."""
    wanted = read(request, Settlement)
    return one(await _carried(request, _settle(request.app[EDGE], wanted)))


async def renew(request: web.Request) -> web.StreamResponse:
    """`POST /v1/renew`."""
    wanted = read(request, Renewal)
    return one(await _carried(request, _renew(request.app[EDGE], wanted)))


async def release(request: web.Request) -> web.StreamResponse:
    """`POST /v1/release`."""
    wanted = read(request, Release)
    return one(await _carried(request, _release(request.app[EDGE], wanted.reservation)))


async def _settle(edge: Edge, wanted: Settlement) -> Settled:
    """The price is that of the model that was asked for: what the reservation carries is read before it is ended."""
    meta = await _meta(edge, wanted.reservation)
    model = known_model(edge, meta.model)
    cost_usd = Decimal(0) if model is None else model.cost_usd(wanted.tokens_in, wanted.tokens_out)
    spent = Spent(1, wanted.tokens_in + wanted.tokens_out, nano_of(cost_usd))
    ended = await edge.limiter.settle_id(wanted.reservation, spent, model=meta.model)
    row = usage_row(
        edge,
        meta,
        organisation_id=organisation_of(wanted.reservation) or "",
        outcome=Outcome.DONE,
        tokens=(wanted.tokens_in, wanted.tokens_out),
        cost_usd=cost_usd,
    )
    edge.ledger.record(row)
    return Settled(
        reservation=wanted.reservation,
        tokens_in=wanted.tokens_in,
        tokens_out=wanted.tokens_out,
        cost_usd=float(cost_usd),
        late=ended is not None and ended.late,
    )


async def _renew(edge: Edge, wanted: Renewal) -> Renewed:
    ttl_s = wanted.ttl_s or TTL_S
    kept = None if wanted.tokens is None else await _kept(edge, wanted.reservation, wanted.tokens)
    await edge.limiter.renew_id(wanted.reservation, ttl_s, kept)
    return Renewed(reservation=wanted.reservation, expires_in_s=ttl_s)


async def _kept(edge: Edge, reservation: str, tokens: int) -> Spent:
    meta = await _meta(edge, reservation)
    return charge_of(known_model(edge, meta.model), tokens)


async def _release(edge: Edge, reservation: str) -> Released:
    ended = await edge.limiter.release_id(reservation)
    return Released(reservation=reservation, late=ended is not None and ended.late)


async def _meta(edge: Edge, reservation: str) -> Meta:
    """What the reservation carries. Those that a request of our own holds are nobody's to end by id."""
    meta = meta_of(await edge.limiter.meta_of(reservation))
    if meta is None:
        raise RequestError(Code.NOT_FOUND, "There is no such reservation.", param="reservation")
    return meta


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
        request=bounded(asked),
        response=answered(told),
    )
