"""What `usage` costs, by its arguments as they were sent: known before it runs, whatever variables hold.

Decides the units of reading and how many rows count as one object: they are plain numbers, of which ten are as much as
an object of other lists. Refuses to judge arguments: what is no valid one counts as absent, and is refused later.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from math import ceil
from typing import Any, Final, TypeVar

from citadel_edge.accounts.analytics.buckets import Bucket
from citadel_edge.accounts.analytics.dimensions import Dimension
from citadel_edge.accounts.analytics.estimate import likely_rows, reads_ledger
from citadel_edge.graph.cost_annotations import Estimate

K = TypeVar("K", Bucket, Dimension)
ROWS_AN_OBJECT: Final = 10
LEDGER_DAY: Final = 10.0
"""Units for each day whose rows are read one by one."""
SUMS_DAY: Final = 0.1
_USUAL_DAYS: Final = 31.0
_MOST_DAYS: Final = 400.0


def usage_price(given: Mapping[str, Any]) -> Estimate:
    """How many objects the rows count as, and the units of finding them."""
    days = _days(given.get("range"))
    bucket = _named(Bucket, given.get("bucket")) or Bucket.NONE
    listed = given.get("groupBy")
    names = listed if isinstance(listed, list) else [listed]
    group_by = [found for name in names if (found := _named(Dimension, name)) is not None]
    filtered = dict(_filtered(given.get("filter")))
    rows = likely_rows(days, bucket, group_by, filtered, _top(given.get("top")))
    a_day = LEDGER_DAY if reads_ledger(bucket, {*group_by, *filtered}) else SUMS_DAY
    return Estimate(length=ceil(rows / ROWS_AN_OBJECT), work=ceil(days * a_day), share=ROWS_AN_OBJECT)


def _named(kind: type[K], name: Any) -> K | None:
    return kind.__members__.get(name) if isinstance(name, str) else None


def _days(given: Any) -> float:
    if not isinstance(given, Mapping):
        return _USUAL_DAYS
    days = given.get("days")
    if isinstance(days, int) and not isinstance(days, bool):
        return float(min(max(days, 0), int(_MOST_DAYS)))
    since, until = _moment(given.get("from")), _moment(given.get("to"))
    if since is None:
        return _USUAL_DAYS
    if until is None:
        return _MOST_DAYS
    return min(max((until - since).total_seconds() / 86_400, 0.0), _MOST_DAYS)


def _moment(given: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(given)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _filtered(given: Any) -> list[tuple[Dimension, int]]:
    if not isinstance(given, Mapping):
        return []
    return [
        (Dimension[name.upper()], len(values) if isinstance(values, list) else 1)
        for name, values in given.items()
        if isinstance(name, str) and name.upper() in Dimension.__members__ and values is not None
    ]


def _top(given: Any) -> int | None:
    count = given.get("count") if isinstance(given, Mapping) else None
    if isinstance(count, bool) or not isinstance(count, int):
        return None
    return min(max(count, 0), 100) + bool(given.get("others"))
