"""What a row of the ledger adds to each sum, as SQL. Pure.

Decides what counts as a request, an error and a denial, in the same words for the rollups and for rows not in them yet.
"""

from typing import Final

COUNTS: Final = ("requests", "errors", "denied")
TOKENS: Final = ("tokens_in", "tokens_out")
SUMS: Final = (*TOKENS, "cost_usd")
HISTOGRAMS: Final = ("latency", "ttft")
MEASURES: Final = (*COUNTS, *SUMS, *HISTOGRAMS)
TABLES: Final = {"usage_rollups": (*COUNTS, *SUMS), "usage_histograms": HISTOGRAMS}
"""Where sums are kept."""

QUEUED: Final = """
usage_unrolled AS queue CROSS JOIN LATERAL unnest(queue.events, queue.counts) AS named (event_id, added)
CROSS JOIN LATERAL (SELECT * FROM usage_events WHERE event_id = named.event_id LIMIT 1) AS row
"""
"""Queue entries with their rows, each found by its id, whatever the planner believes of the queue's length."""

_NULLABLE: Final = frozenset({"upstream"})

_SERVED: Final = "row.outcome <> 'denied'"
_MEASURED: Final = {
    "requests": "CASE WHEN {served} THEN {added} ELSE 0 END",
    "errors": "CASE WHEN row.outcome IN ('error', 'truncated') THEN {added} ELSE 0 END",
    "denied": "CASE WHEN {served} THEN 0 ELSE {added} END",
    "tokens_in": "CASE WHEN {fresh} THEN row.tokens_in ELSE 0 END",
    "tokens_out": "CASE WHEN {fresh} THEN row.tokens_out ELSE 0 END",
    "cost_usd": "CASE WHEN {fresh} THEN row.cost_usd ELSE 0 END",
    "latency": "CASE WHEN {served} THEN usage_lane(row.duration_ms, {added}) ELSE 0 END",
    "ttft": "CASE WHEN {served} AND row.ttft_ms IS NOT NULL THEN usage_lane(row.ttft_ms, {added}) ELSE 0 END",
}


def measured(name: str, added: str, fresh: str) -> str:
    """What a row adds to a measure: `added` is by how much its count grew, `fresh` whether the row itself is new."""
    return _MEASURED[name].format(served=_SERVED, added=added, fresh=fresh)


def plain(name: str) -> str:
    """A row's value of a dimension, as the sums' keys have it: an absent one is empty."""
    return f"coalesce(row.{name}, '')" if name in _NULLABLE else f"row.{name}"


def merged(name: str, prefix: str = "") -> str:
    """The sum of a measure over rows."""
    return f"{'usage_merge' if name in HISTOGRAMS else 'sum'}({prefix}{name})"
