"""A question as one SQL statement. Pure.

Decides what it reads: rollups of whole blocks, the ledger for what is in no block, and the queue's rows for blocks that
do not hold them yet. One statement, so that all three are of one moment.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from citadel_edge.accounts.analytics.columns import (
    COUNTS,
    HISTOGRAMS,
    MEASURES,
    QUEUED,
    SUMS,
    TABLES,
    TOKENS,
    measured,
    merged,
    plain,
)
from citadel_edge.accounts.analytics.dimensions import Grain, grain_of
from citadel_edge.accounts.analytics.pieces import BUCKETS, Kept, Level, Pieces, levels_for, pieces_of
from citadel_edge.accounts.analytics.question import MOST_ROWS, Measure, Question
from citadel_edge.accounts.analytics.reach import check_reach

_RANKS: Final = {
    Measure.REQUESTS: "sum(requests)",
    Measure.TOKENS: "sum(tokens_in + tokens_out)",
    Measure.COST: "sum(cost_usd)",
    Measure.ERRORS: "sum(errors)",
    Measure.DENIED: "sum(denied)",
}

_INSIDE: Final = "row.created_at >= region.since AND row.created_at < region.until"


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL and its arguments. Rows: `total` (whether it is the totals), `others`, `bucket`, `g0` …, and all measures.

    Tokens are text, durations bytes, or null where they were not asked for.
    """

    text: str
    arguments: tuple[object, ...]


def statement(question: Question, bounds: Sequence[datetime], kept: Kept) -> Statement:
    """The statement that answers a question whose buckets have these bounds.

    `kept`: what is kept of the question's zone.

    Raises:
        RequestError: too much of the ledger itself would be read.
    """
    return _Draft(question, bounds, kept).statement()


class _Draft:
    """A statement while it is put together."""

    def __init__(self, question: Question, bounds: Sequence[datetime], kept: Kept) -> None:
        self._question = question
        self._bounds = bounds
        self._grain = grain_of(question.dimensions)
        levels = () if self._grain is None else levels_for(self._grain, question.span, question.bucket, kept)
        self._pieces = pieces_of(bounds, levels)
        check_reach(question, self._grain, self._pieces)
        self._arguments: list[object] = []
        self._groups = [f"g{number}" for number in range(len(question.group_by))]
        self._measures = (*COUNTS, *SUMS, *question.durations)
        self._tables = TABLES if question.durations else ("usage_rollups",)
        self._starts = self._argument(list(bounds[:-1]), "timestamptz[]")
        self._values = [(name, self._argument(list(values), "text[]")) for name, values in question.conditions]

    def statement(self) -> Statement:
        pieces, grain = self._pieces, self._grain
        sources: list[str] = []
        if grain is not None and pieces.blocks:
            for level, marks in pieces.blocks.items():
                starts = self._argument(marks, "timestamptz[]")
                sources += [self._kept(grain, level, starts, table) for table in self._tables]
            sources.append(self._queue(pieces))
        if pieces.rest:
            sources.append(self._ledger(pieces))
        text = f"WITH cells AS MATERIALIZED ({' UNION ALL '.join(sources)}){self._summed()}"
        return Statement(text, tuple(self._arguments))

    def _kept(self, grain: Grain, level: Level, starts: str, table: str) -> str:
        """Sums of blocks, grouped unless each is alone in its group: the whole answer is grouped once more."""
        groups = [f"key.{name} AS g{number}" for number, name in enumerate(self._question.group_by)]
        alone = BUCKETS[level.unit] is self._question.bucket and grain.dimensions == set(self._question.group_by)
        kept = {name: f"kept.{name}" if alone else merged(name, "kept.") for name in TABLES[table]}
        sums = (f"{kept.get(name, 'NULL::numeric')} AS {name}" for name in self._measures)
        keys = ""
        if self._question.dimensions:
            keys = f"JOIN usage_keys AS key ON key.id = kept.key_id AND key.grain = {grain.number} {self._known()}"
        return (
            f"SELECT {self._listed(self._bucket('kept.start'), groups)}, {', '.join(sums)} "  # noqa: S608 - ours
            f"FROM {table} AS kept {keys} WHERE kept.series = {level.unit.series_of(grain)} "
            f"AND kept.calendar = {level.calendar} AND kept.start = ANY({starts}) {'' if alone else self._grouped()}"
        )

    def _queue(self, pieces: Pieces) -> str:
        """What the blocks do not hold yet; the rest's rows are read from the ledger, queued or not."""
        source = f"{QUEUED} WHERE {self._within()} {self._met()}"
        if pieces.rest:
            source += f" AND NOT EXISTS (SELECT FROM {self._regions(pieces)} WHERE {_INSIDE})"
        return self._from_rows(source, added="named.added", fresh="queue.fresh")

    def _ledger(self, pieces: Pieces) -> str:
        source = f"{self._regions(pieces)} JOIN usage_events AS row ON {_INSIDE} WHERE true {self._met()}"
        return self._from_rows(source, added="row.count", fresh="true")

    def _from_rows(self, source: str, *, added: str, fresh: str) -> str:
        groups = [f"{plain(name)} AS g{number}" for number, name in enumerate(self._question.group_by)]
        sums = ", ".join(f"sum({name}) AS {name}" for name in self._measures)  # of many short numbers: no merging
        measures = ", ".join(f"{measured(name, added, fresh)} AS {name}" for name in self._measures)
        return (
            f"SELECT {self._listed('bucket', self._groups)}, {sums} FROM (SELECT "  # noqa: S608 - ours
            f"{self._listed(self._bucket('row.created_at'), groups)}, {measures} FROM {source} OFFSET 0) AS met "
            f"{self._grouped()}"
        )

    def _summed(self) -> str:
        """The cells as rows and totals; ranked before, if only the top is wanted."""
        groups, top = self._groups, self._question.top
        ranked = others = chosen = ""
        if top is not None:
            names = ", ".join(groups)
            ranked = (
                f", ranked AS (SELECT {names}, row_number() OVER (ORDER BY {_RANKS[top.by]} DESC, {names}) "  # noqa: S608
                f"> {self._argument(top.count)} AS others FROM cells GROUP BY {names})"
            )
            chosen = f"JOIN ranked USING ({names})"
            groups = [f"CASE WHEN others THEN NULL ELSE {name} END" for name in groups]
            others = "others"
        heads = self._listed("bucket", [f"{group} AS {name}" for group, name in zip(groups, self._groups, strict=True)])
        keys = self._listed("bucket", [*([others] if others else []), *groups])
        having = ""
        if top is not None and not top.others:
            having = "HAVING NOT others"
        shown = ", ".join(self._shown(name, merged(name)) for name in MEASURES)
        all_told = ", ".join(self._shown(name, f"sum({name})") for name in MEASURES)  # of very many: no merging
        nothing = self._listed("NULL", ["NULL"] * len(groups))
        return (
            f"{ranked} (SELECT false AS total, {others or 'false'} AS others, {heads}, {shown} "  # noqa: S608 - ours
            f"FROM cells {chosen} GROUP BY {keys} {having} LIMIT {MOST_ROWS + 1}) "
            f"UNION ALL SELECT true, false, {nothing}, {all_told} FROM cells"
        )

    def _shown(self, name: str, summed: str) -> str:
        """A measure as it is sent. Tokens go as text: an integer is made of that sooner than of a numeric."""
        if name in HISTOGRAMS:
            return f"{f'numeric_send({summed})' if name in self._measures else 'NULL::bytea'} AS {name}"
        kind = "bigint" if name in COUNTS else "text" if name in TOKENS else "numeric"
        return f"coalesce({summed}, 0)::{kind} AS {name}"

    def _bucket(self, moment: str) -> str:
        return f"width_bucket({moment}, {self._starts}) - 1 AS bucket"

    def _within(self) -> str:
        since, until = self._argument(self._bounds[0]), self._argument(self._bounds[-1])
        return f"row.created_at >= {since} AND row.created_at < {until}"

    def _regions(self, pieces: Pieces) -> str:
        since = self._argument([since for since, _ in pieces.rest], "timestamptz[]")
        until = self._argument([until for _, until in pieces.rest], "timestamptz[]")
        return f"unnest({since}, {until}) AS region (since, until)"

    def _known(self) -> str:
        return "".join(f" AND key.{name} = ANY({values})" for name, values in self._values)

    def _met(self) -> str:
        return "".join(f" AND {plain(name)} = ANY({values})" for name, values in self._values)

    def _grouped(self) -> str:
        return f"GROUP BY {self._listed('bucket', self._groups)}"

    def _listed(self, first: str, others: Sequence[str]) -> str:
        return ", ".join((first, *others))

    def _argument(self, value: object, kind: str = "") -> str:
        self._arguments.append(value)
        return f"${len(self._arguments)}{f'::{kind}' if kind else ''}"
