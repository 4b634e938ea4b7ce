"""Which limits a request is held against: from its caller, model and endpoint to dimensions. Pure.

The user's own come from the tier, each replaced by an override of the same name; beside them stand those that the
organisation's users share; and of both kinds those for this model or endpoint alone. Days and months are those of the
organisation's time zone, so that one may have 23 or 25 hours. Refuses to know what a request takes and who counts.
"""

from collections import OrderedDict
from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from typing import Final

from msgspec import Struct

from citadel_edge.accounts.entitlement import Entitlement, LimitSheet, LimitValues, TopUp
from citadel_edge.limits.values import KINDS, MOST, NANO, Dimension, Kind, LimitName, Period, Unit

MOST_NANO_USD: Final = 9 * 10**15
USUAL_BURST: Final = 0.2
_NONE: Final[LimitValues] = {}


class Who(Struct, frozen=True, kw_only=True):
    """Whose request it is and what for. `model` and `endpoint` are empty where nobody said."""

    organisation_id: str
    user_id: str
    entitlement: Entitlement
    model: str = ""
    endpoint: str = ""


def dimensions(who: Who, now_ms: int) -> tuple[Dimension, ...]:
    """The limits of a request that comes at `now_ms`, the user's before the organisation's. Empty: nothing limits it."""
    entitled = who.entitlement
    periods = Periods(now_ms, entitled.zone)
    user, organisation = f"u:{who.user_id}", "o"
    return (
        *_of(user, _merged(entitled.tier.values, entitled.overrides.values), entitled.burst, periods, entitled.top_ups),
        *_special(user, entitled.tier, entitled.overrides, entitled.burst, who, periods),
        *_of(organisation, entitled.organisation.values, _burst(entitled.organisation), periods),
        *_special(organisation, entitled.organisation, None, _burst(entitled.organisation), who, periods),
    )


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


def _special(
    subject: str, first: LimitSheet, over: LimitSheet | None, burst: float, who: Who, periods: Periods
) -> Iterator[Dimension]:
    """The limits of this model and of this endpoint alone."""
    if who.model and (first.by_model or (over is not None and over.by_model)):
        values = _merged(first.by_model.get(who.model, _NONE), over.by_model.get(who.model, _NONE) if over else _NONE)
        yield from _of(f"{subject}:m:{who.model}", values, burst, periods, model=who.model)
    if who.endpoint and (first.by_endpoint or (over is not None and over.by_endpoint)):
        theirs = over.by_endpoint.get(who.endpoint, _NONE) if over else _NONE
        values = _merged(first.by_endpoint.get(who.endpoint, _NONE), theirs)
        yield from _of(f"{subject}:e:{who.endpoint}", values, burst, periods)


def _of(
    subject: str,
    values: LimitValues,
    burst: float,
    periods: Periods,
    top_ups: tuple[TopUp, ...] = (),
    model: str = "",
) -> Iterator[Dimension]:
    for name, (kind, unit) in KINDS.items():
        value = values.get(name)
        if value is None:
            continue
        limit = min(MOST_NANO_USD, round(value * NANO)) if unit is Unit.NANO_USD else min(MOST, int(value))
        if kind is Kind.CALENDAR:
            extra, lapsed = _given(top_ups, unit, periods.now_ms)
            period = periods.of(name)
            yield Dimension(
                subject=subject, name=name, limit=limit, period=period, extra=extra, lapsed=lapsed, model=model
            )
        elif kind is Kind.RATE:
            least = 1 if unit is Unit.REQUESTS else 0
            yield Dimension(subject=subject, name=name, limit=limit, burst=max(least, int(burst * limit)), model=model)
        else:
            yield Dimension(subject=subject, name=name, limit=limit, model=model)


def _given(top_ups: tuple[TopUp, ...], unit: Unit, now_ms: int) -> tuple[int, int]:
    """Units of top-ups that count now, and of those whose time is over."""
    extra = lapsed = 0
    for top_up in top_ups:
        units = top_up.tokens if unit is Unit.TOKENS else top_up.nano_usd
        if top_up.expires_unix_s is None or now_ms < top_up.expires_unix_s * 1000:
            extra += units
        else:
            lapsed += units
    return extra, lapsed


def _merged(values: LimitValues, over: LimitValues) -> LimitValues:
    return {**values, **over} if over else values


def _burst(sheet: LimitSheet) -> float:
    return USUAL_BURST if sheet.burst is None else sheet.burst
