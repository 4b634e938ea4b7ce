"""Limits without Redis: every instance grants its share, as if the others granted theirs.

Decides how large a share is. Rates and leases: the limit by the number of instances, at least 1, beginning at this
share of the level that was known last; leases of ours that began before count as they are, but of those that were
handed out by id, which any instance may have ended since, no more than Redis knew of. Calendar limits: a share of what
was left when Redis said so last. Refuses to know whether a caller may use it at all (`verdicts.closed_without`),
and what is told to Redis afterwards (`owed`).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec.structs import replace

from citadel_edge.limits.claims import Home, Reservation
from citadel_edge.limits.gcra import Book
from citadel_edge.limits.known import LEASE_MS, Known
from citadel_edge.limits.rules import room_of, takes_leases
from citadel_edge.limits.values import (
    MINUTE_MS,
    NOTHING,
    Answer,
    Dimension,
    Kind,
    Level,
    LimitName,
    Order,
    Spent,
    Unit,
)


class LocalStore:
    """Books of shares, made when they are needed and thrown away when Redis is back."""

    def __init__(
        self, known: Known, *, instances: Callable[[], int], held: Callable[[], Iterable[Reservation]]
    ) -> None:
        self._known = known
        self._instances = instances
        self._held = held
        self._books: dict[str, Book] = {}
        self._shares: dict[tuple[str, str, LimitName], tuple[Dimension, Dimension]] = {}
        self._leases: dict[tuple[str, str], list[Reservation]] | None = None

    def reserve(self, order: Order, now_ms: int) -> tuple[Order, Answer]:
        """As Redis would, of our shares: the order held against these, and the answer."""
        book, shared = self._shared(order, now_ms)
        return shared, book.reserve(shared, now_ms)

    def read(self, order: Order, now_ms: int) -> tuple[Order, Answer]:
        """What `reserve` would say."""
        book, shared = self._shared(order, now_ms)
        return shared, book.read(shared, now_ms)

    def settle(self, reservation: Reservation, spent: Spent, model: str, now_ms: int) -> None:
        """It is over, and so are the leases that it had from Redis."""
        book = self._books.get(reservation.order.organisation_id)
        if book is None:
            return
        book.settle(reservation.id, spent, now_ms, model)
        for one in reservation.order.dimensions:
            if one.kind is Kind.LEASES:
                book.settle(_lease_id(reservation, one.subject), NOTHING, now_ms)

    def renew(self, reservation: Reservation, ttl_ms: int, now_ms: int) -> None:
        """It lives on."""
        book = self._books.get(reservation.order.organisation_id)
        if book is None:
            return
        book.renew(reservation.id, ttl_ms, NOTHING, now_ms)
        for one in reservation.order.dimensions:
            if one.kind is Kind.LEASES:
                book.renew(_lease_id(reservation, one.subject), ttl_ms, NOTHING, now_ms)

    def tidy(self, now_ms: int) -> None:
        """Forget what says nothing any more, in a long outage."""
        for book in self._books.values():
            book.sweep(now_ms, 1_000_000)
            book.forget(now_ms)

    def clear(self) -> None:
        """Redis counts again."""
        self._books, self._shares, self._leases = {}, {}, None

    def _shared(self, order: Order, now_ms: int) -> tuple[Book, Order]:
        book = self._books.setdefault(order.organisation_id, Book())
        shares = tuple(self._share(order, one, book, now_ms) for one in order.dimensions)
        return book, replace(order, dimensions=shares, not_after_ms=0)

    def _share(self, order: Order, dimension: Dimension, book: Book, now_ms: int) -> Dimension:
        """Ours of a limit; the first time with what is already taken of it."""
        key = (order.organisation_id, dimension.subject, dimension.name)
        known = self._shares.get(key)
        if known is not None and known[0] == dimension:
            return known[1]
        instances = max(1, self._instances())
        level = self._known.level(order.organisation_id, dimension, now_ms)
        share = share_of(dimension, level, instances)
        self._shares[key] = dimension, share
        if known is None:
            ours = self._ours(order.organisation_id, share, now_ms) if share.kind is Kind.LEASES else []
            for seed in _seeds(order.organisation_id, share, level or Level(0), instances, ours):
                book.reserve(seed, now_ms)
        return share

    def _ours(self, organisation_id: str, dimension: Dimension, now_ms: int) -> list[Reservation]:
        """Our own reservations with a lease from Redis."""
        if self._leases is None:
            self._leases = {}
            for one in self._held():
                there = one.home is Home.REDIS and takes_leases(one.order)
                for each in one.order.dimensions if there else ():
                    if each.kind is Kind.LEASES:
                        self._leases.setdefault((one.order.organisation_id, each.subject), []).append(one)
        ours = self._leases.get((organisation_id, dimension.subject), [])
        known = self._known.leases(organisation_id, dimension, now_ms)
        return ours if known is None else _alive(ours, known)


def share_of(dimension: Dimension, level: Level | None, instances: int) -> Dimension:
    """The part of a limit that one of so many instances grants, `level` being what is known of it."""
    if dimension.kind is Kind.CALENDAR:
        known = level or Level(0)
        left = dimension.limit + room_of(dimension, known.taken) - known.amount
        return replace(dimension, limit=_part(left, instances), extra=0, lapsed=0, lapsing=0)
    burst = _part(dimension.burst, instances)
    return replace(dimension, limit=_part(dimension.limit, instances), burst=burst)


def _part(units: int, instances: int) -> int:
    return max(1, units // instances) if units > 0 else 0


def _seed(name: str, organisation_id: str, share: Dimension, cost: Spent, ttl_ms: int) -> Order:
    return Order(
        reservation=name,
        organisation_id=organisation_id,
        dimensions=(share,),
        cost=cost,
        kept=cost,
        ttl_ms=ttl_ms,
        force=True,
    )


def _seeds(
    organisation_id: str, share: Dimension, level: Level, instances: int, ours: Sequence[Reservation]
) -> Iterator[Order]:
    """What is taken of a share from the beginning."""
    part = -(-level.amount // instances)
    if share.kind is Kind.RATE and part:
        units = -(-part // MINUTE_MS)
        cost = Spent(0, units) if share.unit is Unit.TOKENS else Spent(units)
        yield _seed(f"level:{share.subject}:{share.name}", organisation_id, share, cost, 0)
    elif share.kind is Kind.LEASES:
        lives = [(_lease_id(one, share.subject), one.order.ttl_ms) for one in ours]
        others = (part - len(ours)) if level.amount > len(ours) else 0
        lives += [(f"other:{share.subject}:{place}", LEASE_MS) for place in range(others)]
        for name, ttl_ms in lives:
            yield _seed(name, organisation_id, share, NOTHING, ttl_ms)


def _alive(ours: Sequence[Reservation], known: int) -> list[Reservation]:
    """Those that may still hold a lease when so many are held in all: the youngest of what was handed out by id."""
    held = [one for one in ours if one.held]
    lent = [one for one in ours if not one.held]
    return held + lent[max(0, len(lent) - max(0, known - len(held))) :]


def _lease_id(reservation: Reservation, subject: str) -> str:
    return f"{reservation.id}:{subject}"
