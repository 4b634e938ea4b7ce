"""How rows get into the rollups, as SQL. Pure.

Decides the statements: which keys a row counts for, which blocks, and what it adds to each of them. They are made for
the calendars there are. Refuses to know when they are run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from citadel_edge.accounts.analytics.columns import MEASURES, QUEUED, TABLES, measured, merged
from citadel_edge.accounts.analytics.dimensions import EVERYTHING, GRAINS, KEYED, Grain
from citadel_edge.accounts.analytics.pieces import HOURS_CALENDAR, Unit


@dataclass(frozen=True, slots=True)
class Blocks:
    """Blocks of a calendar that the rows at hand may lie in.

    `bounds`: of each length where they begin, in order, and where the last ends; rows outside are counted in none.
    """

    calendar: int
    bounds: Mapping[Unit, Sequence[datetime]]


LOCKED: Final = "SELECT pg_try_advisory_xact_lock($1)"
SETTINGS: Final = """
SELECT set_config('work_mem', '64MB', true), set_config('enable_memoize', 'off', true), set_config('jit', 'off', true),
    set_config('plan_cache_mode', 'force_custom_plan', true)
"""
WAITING: Final = """
SELECT coalesce(sum(size), 0)::bigint AS rows,
    coalesce(extract(epoch FROM clock_timestamp() - min(queued_at)), 0)::float8 AS oldest_s FROM usage_unrolled
"""
NEXT: Final = """
SELECT id, size FROM (
    SELECT id, size, sum(size) OVER (ORDER BY id) - size AS before
    FROM (SELECT id, size FROM usage_unrolled ORDER BY id LIMIT 1000) AS oldest
) AS counted WHERE before = 0 OR before + size <= $1
"""
COUNTABLE: Final = "created_at >= '1970-01-02T00:00:00Z' AND row.created_at < '9990-01-01T00:00:00Z'"
"""Rows of other times (a broken clock) are left out of all sums: calendars end somewhere."""
DAYS: Final = f"""
SELECT DISTINCT date_bin('1 day', row.created_at, '1970-01-01T00:00:00Z') AS day FROM {QUEUED}
WHERE queue.id = ANY($1::bigint[]) AND row.{COUNTABLE}
"""  # noqa: S608 - ours
TAKEN: Final = "DELETE FROM usage_unrolled WHERE id = ANY($1::bigint[])"

_NAMES: Final = ", ".join(KEYED)
_PLACES: Final = ", ".join(f"${number}::text" for number in range(1, len(KEYED) + 1))
_LINKS: Final = ", ".join(grain.key for grain in GRAINS)
_SINGLE: Final = ", ".join(f"{measured(name, 'named.added', 'queue.fresh')} AS {name}" for name in MEASURES)


def _digest(grain: Grain, table: str) -> str:
    """The digest of the key that a table's row has in this grain, as an expression."""
    parts = (f"coalesce({table}.{name}, '')" if name in grain.dimensions else "''" for name in KEYED)
    return f"usage_digest('{grain.number}', {', '.join(parts)})"


UNKNOWN: Final = f"""
SELECT {_NAMES} FROM (
    SELECT DISTINCT {", ".join(f"coalesce(row.{name}, '') AS {name}" for name in KEYED)}
    FROM {QUEUED} WHERE queue.id = ANY($1::bigint[])
) AS met WHERE NOT EXISTS (SELECT FROM usage_keys AS key WHERE key.digest = {_digest(EVERYTHING, "met")})
"""  # noqa: S608 - names of ours


def _add_key(grain: Grain) -> str:
    """Insert the key that some values have in this grain, if it is not there; that of everything names all others."""
    values = ", ".join(name.value if name in grain.dimensions else "''" for name in KEYED)
    links = GRAINS if grain is EVERYTHING else ()
    heads = "".join(f", {other.key}" for other in links)
    found = "".join(f", (SELECT id FROM usage_keys WHERE digest = {_digest(other, 'given')})" for other in links)  # noqa: S608
    return (
        f"INSERT INTO usage_keys (grain, {_NAMES}, digest{heads}) "  # noqa: S608 - names of ours
        f"SELECT {grain.number}, {values}, {_digest(grain, 'given')}{found} "
        f"FROM (VALUES ({_PLACES})) AS given ({_NAMES}) ON CONFLICT (digest) DO NOTHING"
    )


ADD_KEYS: Final = tuple((grain, _add_key(grain)) for grain in (*GRAINS, EVERYTHING))
"""In this order, each with the values that `UNKNOWN` finds, as far as the grain tells them apart."""


def fold(calendars: Sequence[Blocks]) -> str:
    """Add the rows of queue entries to all sums. Arguments: the entries' ids; then all blocks of the calendars."""
    keys = f"JOIN usage_keys AS key ON key.digest = {_digest(EVERYTHING, 'row')}"
    source = f"{QUEUED} {keys} WHERE queue.id = ANY($1) AND row.{COUNTABLE}"
    return _insert(_SINGLE, source, calendars, taken=1, hours=True)


def build(calendar: Blocks) -> str:
    """Add all rows of the ledger from $1 until before $2 (null: no end) to one calendar's sums, but for the queue's.

    Then follow its blocks. What a queue entry is yet to add to a row's count is left to it.
    """
    added = "row.count - coalesce(pending.added, 0)"
    single = ", ".join(f"{measured(name, added, 'true')} AS {name}" for name in MEASURES)
    source = (
        "usage_events AS row LEFT JOIN ("  # noqa: S608 - names of ours
        "SELECT named.event_id, sum(named.added)::bigint AS added, bool_or(queue.fresh) AS fresh "
        "FROM usage_unrolled AS queue CROSS JOIN unnest(queue.events, queue.counts) AS named (event_id, added) "
        "GROUP BY event_id"
        ") AS pending USING (event_id) "
        f"JOIN usage_keys AS key ON key.digest = {_digest(EVERYTHING, 'row')} "
        "WHERE row.created_at >= $1::timestamptz AND ($2::timestamptz IS NULL OR row.created_at < $2) "
        f"AND NOT coalesce(pending.fresh, false) AND row.{COUNTABLE}"
    )
    return _insert(single, source, (calendar,), taken=2, hours=False)


def build_weeks(table: str) -> str:
    """Sum days as weeks: $1 is the weeks' calendar, $2 the days', $3 where the weeks begin, and where the last ends.

    Whole weeks, of which nothing is there yet. What is still in the queue is in no day, and comes to both.
    """
    days = {Unit.DAY.series_of(grain): Unit.WEEK.series_of(grain) for grain in GRAINS if Unit.WEEK.kept_of(grain)}
    series = " ".join(f"WHEN {day} THEN {week}" for day, week in days.items())
    sums = TABLES[table]
    return (
        f"INSERT INTO {table} (series, calendar, start, key_id, {', '.join(sums)}) "  # noqa: S608 - names of ours
        f"SELECT CASE series {series} END, $1::smallint, ($3::timestamptz[])[width_bucket(start, $3::timestamptz[])], "
        f"key_id, {', '.join(merged(name) for name in sums)} FROM {table} "
        f"WHERE series IN ({', '.join(map(str, days))}) AND calendar = $2::smallint "
        "AND start >= ($3::timestamptz[])[1] AND start < ($3::timestamptz[])[cardinality($3::timestamptz[])] "
        "GROUP BY 1, 2, 3, 4"
    )


def _insert(single: str, source: str, calendars: Sequence[Blocks], *, taken: int, hours: bool) -> str:
    """Rows of a source into the sums: one pass over them for all series. `taken` arguments come before the blocks."""
    blocks = [("hour", "date_bin('1 hour', row.created_at, '1970-01-01T00:00:00Z')")] if hours else []
    series = [
        (Unit.HOUR.series_of(grain), HOURS_CALENDAR, "hour", grain.key)
        for grain in GRAINS
        if hours and Unit.HOUR.kept_of(grain)
    ]
    for number, (calendar, unit) in enumerate((each, unit) for each in calendars for unit in each.bounds):
        argument, name = f"${taken + 1 + number}::timestamptz[]", f"{unit.name.lower()}_{calendar.calendar}"
        starts = f"({argument})[1:cardinality({argument}) - 1]"
        blocks.append((name, f"({starts})[width_bucket(row.created_at, {argument})]"))
        kept = (grain for grain in GRAINS if unit.kept_of(grain))
        series += [(unit.series_of(grain), calendar.calendar, name, grain.key) for grain in kept]
    inside = ", ".join(f"{expression} AS {name}" for name, expression in blocks)
    names = ", ".join(name for name, _ in blocks)
    return (
        f"WITH summed AS MATERIALIZED (SELECT CASE {_cases(series, 0)} END AS series, "  # noqa: S608 - names of ours
        f"CASE {_cases(series, 1)} END AS calendar, coalesce({names}) AS start, coalesce({_LINKS}) AS key_id, "
        f"{', '.join(f'{merged(name)} AS {name}' for name in MEASURES)} "
        f"FROM (SELECT {inside}, {_LINKS}, {single} FROM {source} OFFSET 0) AS met "
        f"GROUP BY GROUPING SETS ({', '.join(f'({block}, {key})' for _, _, block, key in series)}) "
        f"HAVING coalesce({names}) IS NOT NULL ORDER BY 1, 2, 3, 4), "
        f"histograms AS ({_add('usage_histograms')} WHERE latency <> 0 OR ttft <> 0 {_summing('usage_histograms')}) "
        f"{_add('usage_rollups')} WHERE true {_summing('usage_rollups')}"
    )


def _add(table: str) -> str:
    columns = f"series, calendar, start, key_id, {', '.join(TABLES[table])}"
    return f"INSERT INTO {table} AS kept ({columns}) SELECT {columns} FROM summed"  # noqa: S608 - names of ours


def _summing(table: str) -> str:
    sums = ", ".join(f"{name} = kept.{name} + excluded.{name}" for name in TABLES[table])
    return f"ON CONFLICT (series, calendar, start, key_id) DO UPDATE SET {sums}"


def _cases(series: Sequence[tuple[int, int, str, str]], place: int) -> str:
    return " ".join(f"WHEN grouping({each[2]}, {each[3]}) = 0 THEN {each[place]}" for each in series)
