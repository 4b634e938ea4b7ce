"""One organisation's limits in memory: what the scripts on Redis decide, decided here to the last digit. Pure.

It is the specification that the scripts are tested against, and counts for an instance alone while Redis is away. The
time is an argument and may step back: then nothing drains, and buckets are drained from the earlier time on.
Refuses to know who asks, what plans are, and how an answer reads.
"""

from dataclasses import dataclass, field
from heapq import heappop, heappush

from citadel_edge.limits.rules import (
    DAY_MS,
    FINAL_MS,
    FORGETS_OTHERS,
    LATE_MS,
    LONGEST_TTL_MS,
    MOST_BACKLOG,
    SETTLED_MS,
    SLACK_MS,
    SWEPT_BY_EACH,
    after_lapse,
    bounded,
    cost_of,
    fits,
    in_later_period,
    is_present,
    ordinal,
    settled_cost,
    takes_leases,
)
from citadel_edge.limits.values import (
    MINUTE_MS,
    MOST_NANO_USD,
    Answer,
    Dimension,
    Ended,
    Kind,
    Level,
    LimitName,
    Order,
    Period,
    Spent,
    Verdict,
)


@dataclass(slots=True)
class _Bucket:
    backlog: int = 0
    at_ms: int = 0
    limit: int = 0

    def drained(self, limit: int, now_ms: int) -> int:
        return max(0, self.backlog - limit * max(0, now_ms - self.at_ms))

    def write(self, backlog: int, limit: int, now_ms: int) -> None:
        self.backlog, self.at_ms, self.limit = min(max(0, backlog), MOST_BACKLOG), now_ms, limit


@dataclass(slots=True)
class _Counter:
    """`ended`: units of top-ups that are known to have ended."""

    period: int = 0
    used: int = 0
    taken: int = 0
    limit: int = 0
    ended: int = 0

    def at(self, period: int) -> Level:
        """As it is in a period. A later one begins anew; an earlier one (clocks step back) goes on in the known one."""
        level = Level(self.used, self.taken)
        return in_later_period(level, self.limit) if period > self.period else level

    def against(self, dimension: Dimension, period: Period) -> Level:
        """As it is for a limit, with the top-ups that have ended by now."""
        return after_lapse(self.at(ordinal(period)), dimension.limit, dimension.lapsed - self.ended)

    def write(self, level: Level, period: int, limit: int, ended: int = 0) -> None:
        self.ended = max(self.ended, ended)
        self.used, self.taken, self.limit = min(max(0, level.amount), MOST_NANO_USD), level.taken, limit
        self.period = max(self.period, period)


@dataclass(slots=True)
class _Record:
    """A reservation that is known. `stands` is what it takes now, `periods` where its calendar limits counted it.

    It is due when it expires, to be swept, and an hour later, to be forgotten.
    """

    order: Order
    stands: Spent
    kept: Spent
    periods: tuple[int, ...]
    expires_ms: int
    due_ms: int = 0
    swept: bool = False


@dataclass(slots=True)
class Book:
    """The limits of one organisation. An order names no limit twice; reservations are told apart by their ids."""

    _buckets: dict[tuple[str, LimitName], _Bucket] = field(default_factory=dict)
    _counters: dict[tuple[str, LimitName], _Counter] = field(default_factory=dict)
    _leases: dict[str, dict[str, int]] = field(default_factory=dict)
    _records: dict[str, _Record] = field(default_factory=dict)
    _ended: dict[str, int] = field(default_factory=dict)
    _due: list[tuple[int, str]] = field(default_factory=list)

    def reserve(self, order: Order, now_ms: int) -> Answer:
        """Take what the order asks for of every limit, or of none. See `Order`."""
        if 0 < order.not_after_ms < now_ms:
            return Answer(Verdict.STALE, now_ms)
        self._sweep(now_ms, SWEPT_BY_EACH)
        answer = self.read(order, now_ms)
        if answer.verdict is Verdict.STALE:
            return answer
        if self._knows(order.reservation, now_ms):
            return Answer(Verdict.ADMITTED, now_ms, answer.levels)
        if answer.verdict is Verdict.DENIED:
            if self._stepped_back(order, now_ms):
                self._write(order, answer.levels, now_ms)
            return answer
        costs = [cost_of(one, order) for one in order.dimensions]
        levels = tuple(
            _taken(one, level, cost) for one, level, cost in zip(order.dimensions, answer.levels, costs, strict=True)
        )
        self._write(order, levels, now_ms)
        self._record(order, now_ms)
        return Answer(Verdict.ADMITTED, now_ms, levels)

    def read(self, order: Order, now_ms: int) -> Answer:
        """What `reserve` would say of a new reservation; the levels are those without it. Takes nothing."""
        late = 0 < order.not_after_ms < now_ms
        if late or not all(one.period is None or is_present(one.period, now_ms) for one in order.dimensions):
            return Answer(Verdict.STALE, now_ms)
        levels = tuple(self._level(one, now_ms) for one in order.dimensions)
        pairs = zip(order.dimensions, levels, strict=True)
        fine = order.force or all(fits(one, level, cost_of(one, order)) for one, level in pairs)
        return Answer(Verdict.ADMITTED if fine else Verdict.DENIED, now_ms, levels)

    def settle(
        self, reservation: str, spent: Spent, now_ms: int, model: str = "", *, by_id: bool = False
    ) -> Ended | None:
        """End a reservation: what it took becomes what was spent, once; None: it is unknown or was ended before.

        `by_id`: who asks knows no more than the id; to them one that is held by its maker is unknown.
        """
        record = self._found(reservation, by_id=by_id)
        if record is None:
            return None
        del self._records[reservation]
        self._ended[reservation] = max(now_ms + SETTLED_MS, record.expires_ms + SLACK_MS)
        if reservation.endswith(FORGETS_OTHERS):
            self._forget_ended(now_ms)
        self._correct(reservation, record, spent, now_ms, model)
        return Ended(record.swept or record.expires_ms <= now_ms, record.order.meta)

    def renew(self, reservation: str, ttl_ms: int, kept: Spent, now_ms: int, *, by_id: bool = False) -> bool:
        """Let a reservation live `ttl_ms` from now; `kept` is what stays if it is not settled. False: it has ended."""
        record = self._found(reservation, by_id=by_id)
        if record is None or record.swept or record.expires_ms <= now_ms:
            return False
        record.kept = bounded(kept)
        self._live_until(reservation, record, now_ms + min(ttl_ms, LONGEST_TTL_MS))
        return True

    def sweep(self, now_ms: int, most: int) -> int:
        """See to up to `most` reservations that are due, the longest first; answers how many it were.

        One that expired is set to what it keeps, and may still be settled for an hour; then it is forgotten. So are the
        ids of those that ended long enough ago, for good: also when the clock steps back afterwards.
        """
        swept = self._sweep(now_ms, most)
        self._forget_ended(now_ms)
        return swept

    def seed(self, subject: str, name: LimitName, period: Period, used: int, now_ms: int) -> None:
        """Let a calendar counter say at least `used` for the present period: it was lost, and others know better."""
        if not is_present(period, now_ms):
            return
        counter, number = self._counters.setdefault((subject, name), _Counter()), ordinal(period)
        level = counter.at(number)
        limit = counter.limit if number <= counter.period else used
        counter.write(Level(max(level.amount, used), level.taken), number, limit)

    def forget(self, now_ms: int) -> None:
        """Drop what says nothing any more: buckets empty for long, ids whose time is over, subjects without leases."""
        for key, bucket in list(self._buckets.items()):
            if bucket.at_ms + DAY_MS <= now_ms and bucket.drained(bucket.limit, now_ms) == 0:
                del self._buckets[key]
        self._forget_ended(now_ms)
        self._leases = {subject: held for subject, held in self._leases.items() if held}

    def _found(self, reservation: str, *, by_id: bool) -> _Record | None:
        record = self._records.get(reservation)
        return None if record is None or (by_id and record.order.held) else record

    def _sweep(self, now_ms: int, most: int) -> int:
        swept = 0
        while swept < most and (reservation := self._next_due(now_ms)) is not None:
            record = self._records[reservation]
            if record.swept:
                del self._records[reservation]
            else:
                self._correct(reservation, record, record.kept, now_ms)
                record.swept = True
                self._is_due(reservation, record, now_ms + LATE_MS)
            swept += 1
        return swept

    def _forget_ended(self, now_ms: int) -> None:
        self._ended = {reservation: until_ms for reservation, until_ms in self._ended.items() if until_ms > now_ms}

    def _level(self, dimension: Dimension, now_ms: int) -> Level:
        key = dimension.subject, dimension.name
        if dimension.kind is Kind.LEASES:
            return Level(self._held(dimension.subject, now_ms))
        if dimension.period is not None:
            return self._counters.get(key, _Counter()).against(dimension, dimension.period)
        return Level(self._buckets.get(key, _Bucket()).drained(dimension.limit, now_ms))

    def _held(self, subject: str, now_ms: int) -> int:
        return sum(1 for expires_ms in self._leases.get(subject, {}).values() if expires_ms > now_ms)

    def _stepped_back(self, order: Order, now_ms: int) -> bool:
        keys = ((one.subject, one.name) for one in order.dimensions)
        return any(key in self._buckets and self._buckets[key].at_ms > now_ms for key in keys)

    def _write(self, order: Order, levels: tuple[Level, ...], now_ms: int) -> None:
        for one, level in zip(order.dimensions, levels, strict=True):
            key = one.subject, one.name
            if one.kind is Kind.RATE:
                self._buckets.setdefault(key, _Bucket()).write(level.amount, one.limit, now_ms)
            elif one.period is not None:
                self._counters.setdefault(key, _Counter()).write(level, ordinal(one.period), one.limit, one.lapsed)

    def _record(self, order: Order, now_ms: int) -> None:
        if order.ttl_ms <= 0:
            self._ended[order.reservation] = now_ms + FINAL_MS
            return
        self._ended.pop(order.reservation, None)
        record = _Record(order, bounded(order.cost), bounded(order.kept), self._periods(order), now_ms)
        self._records[order.reservation] = record
        self._live_until(order.reservation, record, now_ms + min(order.ttl_ms, LONGEST_TTL_MS))

    def _knows(self, reservation: str, now_ms: int) -> bool:
        return reservation in self._records or self._ended.get(reservation, 0) > now_ms

    def _periods(self, order: Order) -> tuple[int, ...]:
        return tuple(self._counters.get((one.subject, one.name), _Counter()).period for one in order.dimensions)

    def _live_until(self, reservation: str, record: _Record, expires_ms: int) -> None:
        record.expires_ms = expires_ms
        self._is_due(reservation, record, expires_ms)
        if takes_leases(record.order):
            for one in record.order.dimensions:
                if one.kind is Kind.LEASES:
                    self._leases.setdefault(one.subject, {})[reservation] = expires_ms

    def _is_due(self, reservation: str, record: _Record, due_ms: int) -> None:
        record.due_ms = due_ms
        heappush(self._due, (due_ms, reservation))

    def _next_due(self, now_ms: int) -> str | None:
        while self._due and self._due[0][0] <= now_ms:
            due_ms, reservation = heappop(self._due)
            record = self._records.get(reservation)
            if record is not None and record.due_ms == due_ms:
                return reservation
        return None

    def _correct(self, reservation: str, record: _Record, spent: Spent, now_ms: int, model: str = "") -> None:
        """From what it stands at to `spent`, wherever it is still counted; its leases are given back."""
        for one, period in zip(record.order.dimensions, record.periods, strict=True):
            self._leases.get(one.subject, {}).pop(reservation, None)
            more = settled_cost(one, spent, model) - record.stands.of(one.unit)
            if one.kind is not Kind.LEASES:
                self._add(one, more, period, now_ms)
        record.stands = bounded(spent)

    def _add(self, dimension: Dimension, more: int, period: int, now_ms: int) -> None:
        key = dimension.subject, dimension.name
        if dimension.kind is Kind.RATE:
            bucket = self._buckets.setdefault(key, _Bucket(0, now_ms, dimension.limit))
            backlog = bucket.drained(bucket.limit, now_ms) + more * MINUTE_MS
            bucket.write(backlog, bucket.limit, now_ms)
        elif (counter := self._counters.get(key)) is not None and counter.period == period:
            counter.write(Level(counter.used + more, counter.taken), period, counter.limit)


def _taken(dimension: Dimension, level: Level, cost: int) -> Level:
    if dimension.kind is Kind.RATE:
        return Level(min(level.amount + cost * MINUTE_MS, MOST_BACKLOG))
    return Level(min(level.amount + cost, MOST_NANO_USD), level.taken)
