"""Orders and limits as tests write them."""

from itertools import count

from citadel_edge.limits.values import Dimension, LimitName, Order, Period, Spent

ORGANISATION = "org_0000000000000000000001"
RPM, TPM, CONCURRENT = LimitName.REQUESTS_PER_MINUTE, LimitName.TOKENS_PER_MINUTE, LimitName.CONCURRENT
TPD, TPMONTH, USD = LimitName.TOKENS_PER_DAY, LimitName.TOKENS_PER_MONTH, LimitName.USD_PER_MONTH
MS, SECOND, MINUTE, HOUR, DAY = 1, 1000, 60_000, 3_600_000, 86_400_000
NOON = 1_795_435_200_000
"""2026-11-23T12:00:00Z."""
TODAY = Period("2026-11-23", NOON - 12 * HOUR, NOON + 12 * HOUR)
TOMORROW = Period("2026-11-24", NOON + 12 * HOUR, NOON + 36 * HOUR)
MONTH = Period("2026-11", NOON - 22 * DAY - 12 * HOUR, NOON + 7 * DAY + 12 * HOUR)
_numbers = count(1)


def limit(name, units, subject="u:usr_1", **fields):
    """One limit; calendars are today's and this month's if nothing else is said."""
    if name in (TPD, TPMONTH, USD):
        fields.setdefault("period", TODAY if name is TPD else MONTH)
    elif name is not CONCURRENT:
        fields.setdefault("burst", units)
    return Dimension(subject=subject, name=name, limit=units, **fields)


def reservation_id(number=None, organisation=ORGANISATION):
    """An id; each another one if no number is given."""
    return f"res_{organisation.removeprefix('org_')}_{next(_numbers) if number is None else number:032x}"


def order(*dimensions, requests=1, tokens=0, nano_usd=0, organisation=ORGANISATION, **fields):
    """An order; each another reservation if no id is given."""
    fields.setdefault("reservation", reservation_id(organisation=organisation))
    return Order(organisation_id=organisation, dimensions=dimensions, cost=Spent(requests, tokens, nano_usd), **fields)
