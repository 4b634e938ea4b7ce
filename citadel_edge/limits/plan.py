"""Which limits a request is held against: from its caller, model and endpoint to dimensions. Pure.

The user's own come from the tier, each replaced by an override of the same name; beside them stand those that the
organisation's users share; and of both kinds those for this model or endpoint alone. Days and months are those of the
organisation's time zone, so that one may have 23 or 25 hours. Refuses to know what a request takes and who counts.
"""

from collections import OrderedDict
from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from types import MappingProxyType
from typing import Final

import msgspec
from msgspec import Struct

from citadel_edge.accounts.entitlement import EMPTY, Entitlement, LimitSheet, LimitValues, TopUp
from citadel_edge.limits.values import KINDS, MOST, MOST_NANO_USD, NANO, Dimension, Kind, LimitName, Period, Unit

USUAL_BURST: Final = 0.2
_NONE: Final[LimitValues] = MappingProxyType({})


class Who(Struct, frozen=True, kw_only=True):
    """Whose request it is and what for. `model` and `endpoint` are empty where nobody said."""

    organisation_id: str
    user_id: str
    entitlement: Entitlement
    model: str = ""
    endpoint: str = ""


class _Side(Struct, frozen=True):
    """The user's side of a plan, or the organisation's."""

    subject: str
    sheet: LimitSheet
    over: LimitSheet
    burst: float
    top_ups: tuple[TopUp, ...] = ()


def dimensions(who: Who, now_ms: int) -> tuple[Dimension, ...]:
    """The limits of a request that comes at `now_ms`, the user's before the organisation's; none is no limit."""
    entitled, shared = who.entitlement, who.entitlement.organisation
    user = _Side(f"u:{who.user_id}", entitled.tier, entitled.overrides, entitled.burst, entitled.top_ups)
    organisation = _Side("o", shared, EMPTY, USUAL_BURST if shared.burst is None else shared.burst)
    periods = Periods(now_ms, entitled.zone)
    return tuple(one for side in (user, organisation) for one in _of_side(side, who, periods))


class Periods:
    """The day and the month that `now_ms` is in, found when they are asked for."""

    def __init__(self, now_ms: int, zone: tzinfo) -> None:
        self.now_ms = now_ms
        self._now = datetime.fromtimestamp(now_ms / 1000, zone)
        self._day: Period | None = None
        self._month: Period | None = None

    @property
    def day(self) -> Period:
        """From midnight to midnight; where the clock has none, from the moment it jumps."""
        if self._day is None:
            today = datetime(self._now.year, self._now.month, self._now.day)  # noqa: DTZ001 - the zone is put on later
            self._day = self._from(today, today + timedelta(days=1), f"{today:%Y-%m-%d}")
        return self._day

    @property
    def month(self) -> Period:
        """From the first to the first."""
        if self._month is None:
            first = datetime(self._now.year, self._now.month, 1)  # noqa: DTZ001 - the zone is put on later
            following = datetime(first.year + first.month // 12, first.month % 12 + 1, 1)  # noqa: DTZ001 - as above
            self._month = self._from(first, following, f"{first:%Y-%m}")
        return self._month

    def of(self, name: LimitName) -> Period:
        """The one that a calendar limit counts in."""
        return self.day if name is LimitName.TOKENS_PER_DAY else self.month

    def _from(self, start: datetime, end: datetime, name: str) -> Period:
        zone = self._now.tzinfo
        starts, ends = (int(time.replace(tzinfo=zone).timestamp() * 1000) for time in (start, end))
        return Period(name, starts, ends)


class Plans:
    """Plans as they were made of late: made anew when what they were made of changes, or a period ends."""

    def __init__(self, most: int = 10_000) -> None:
        self._plans: OrderedDict[tuple[str, str, str], tuple[Entitlement, int, int, tuple[Dimension, ...]]] = (
            OrderedDict()
        )
        self._most = most

    def of(self, who: Who, now_ms: int) -> tuple[Dimension, ...]:
        """See `dimensions`."""
        key = who.user_id, who.model, who.endpoint
        known = self._plans.get(key)
        if known is not None and known[0] is who.entitlement and known[1] <= now_ms < known[2]:
            return known[3]
        made = dimensions(who, now_ms)
        since, until = _holds(who.entitlement, made, now_ms)
        self._plans[key] = who.entitlement, since, until, made
        if len(self._plans) > self._most:
            self._plans.popitem(last=False)
        return made


def _holds(entitled: Entitlement, made: tuple[Dimension, ...], now_ms: int) -> tuple[int, int]:
    """From when to when the same plan would be made."""
    periods = [one.period for one in made if one.period is not None]
    lapses = [int(top_up.expires_unix_s * 1000) for top_up in entitled.top_ups if top_up.expires_unix_s is not None]
    since = max([0, *(period.start_ms for period in periods), *(lapse for lapse in lapses if lapse <= now_ms)])
    until = min([2**53, *(period.end_ms for period in periods), *(lapse for lapse in lapses if lapse > now_ms)])
    return since, until


def _of_side(side: _Side, who: Who, periods: Periods) -> Iterator[Dimension]:
    """The limits of all requests, of those of this model, and of those of this endpoint."""
    sheet, over = side.sheet, side.over
    yield from _made(side, side.subject, _merged(sheet.values, over.values), periods)
    alone = msgspec.structs.replace(side, top_ups=())
    if who.model and (sheet.by_model or over.by_model):
        values = _merged(sheet.by_model.get(who.model, _NONE), over.by_model.get(who.model, _NONE))
        for one in _made(alone, f"{side.subject}:m:{who.model}", values, periods):
            yield msgspec.structs.replace(one, model=who.model)
    if who.endpoint and (sheet.by_endpoint or over.by_endpoint):
        values = _merged(sheet.by_endpoint.get(who.endpoint, _NONE), over.by_endpoint.get(who.endpoint, _NONE))
        yield from _made(alone, f"{side.subject}:e:{who.endpoint}", values, periods)


def _made(side: _Side, subject: str, values: LimitValues, periods: Periods) -> Iterator[Dimension]:
    for name, (kind, unit) in KINDS.items():
        value = values.get(name)
        if value is None:
            continue
        limit = min(MOST_NANO_USD, round(value * NANO)) if unit is Unit.NANO_USD else min(MOST, int(value))
        if kind is Kind.CALENDAR:
            yield _quota(Dimension(subject=subject, name=name, limit=limit, period=periods.of(name)), side, periods)
        elif kind is Kind.RATE:
            least = 1 if unit is Unit.REQUESTS else 0
            yield Dimension(subject=subject, name=name, limit=limit, burst=max(least, int(side.burst * limit)))
        else:
            yield Dimension(subject=subject, name=name, limit=limit)


def _quota(quota: Dimension, side: _Side, periods: Periods) -> Dimension:
    """With the units of top-ups that count now, of those that do no more, and of those that soon will not."""
    if not side.top_ups or quota.period is None:
        return quota
    extra = lapsed = lapsing = 0
    for top_up in side.top_ups:
        units = top_up.tokens if quota.unit is Unit.TOKENS else top_up.nano_usd
        ends_ms = float("inf") if top_up.expires_unix_s is None else top_up.expires_unix_s * 1000
        if ends_ms <= periods.now_ms:
            lapsed += units
            continue
        extra += units
        if ends_ms <= quota.period.end_ms:
            lapsing += units
    return msgspec.structs.replace(quota, extra=extra, lapsed=lapsed, lapsing=lapsing)


def _merged(values: LimitValues, over: LimitValues) -> LimitValues:
    return {**values, **over} if over else values
