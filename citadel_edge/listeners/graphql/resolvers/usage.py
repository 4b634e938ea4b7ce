"""Usage analytics: what was used, told apart by time and keys. A user sees the own, operators everybody's.

Decides how a question is put and how its answer is shown. Refuses to know how it is found (`accounts.analytics`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Final

from graphql import FieldNode, FragmentSpreadNode, InlineFragmentNode, SelectionSetNode

from citadel_edge.accounts import reads, values
from citadel_edge.accounts.analytics.buckets import Bucket
from citadel_edge.accounts.analytics.columns import HISTOGRAMS
from citadel_edge.accounts.analytics.dimensions import Dimension
from citadel_edge.accounts.analytics.question import Answer, Figures, Measure, Order, Question, Row, Top
from citadel_edge.accounts.days import Span, span
from citadel_edge.accounts.desk import invalid
from citadel_edge.accounts.principal import Role
from citadel_edge.listeners.graphql.binding import Resolver, Type
from citadel_edge.listeners.graphql.context import Context
from citadel_edge.listeners.graphql.resolvers.ids import global_id, plain_id
from citadel_edge.listeners.graphql.resolvers.told import Info
from citadel_edge.storage.postgres import PostgresPool

_IDS: Final = {"user": "User", "organisation": "Organisation", "upstream": "Upstream"}
"""Dimensions whose values may be given as global ids."""
_SHARES: Final = (0.5, 0.95, 0.99)
_FURTHEST_DAYS: Final = 400
_AT_ONCE: Final = 200
_Find = Callable[[PostgresPool, Sequence[str]], Awaitable[Mapping[str, Any]]]
_NAMED: Final[Mapping[Dimension, tuple[str, _Find]]] = {
    Dimension.USER: ("user", reads.get_users),
    Dimension.ORGANISATION: ("organisation", reads.get_organisations),
}
Named = Mapping[tuple[Dimension, str | None], Any]


@dataclass(eq=False)
class Shown:
    """Figures with their percentiles, read once if anybody asks.

    Not frozen: an answer may have ten thousand, and each would take three times as long to make.
    """

    figures: Figures
    question: Question
    row: Row | None = None
    named: Named = field(default_factory=dict)

    @cached_property
    def latency(self) -> tuple[float | None, ...]:
        """Milliseconds of `_SHARES`."""
        return self.figures.latency.percentiles(*_SHARES)

    @cached_property
    def ttft(self) -> tuple[float | None, ...]:
        """The same of first tokens."""
        return self.figures.ttft.percentiles(*_SHARES)

    def key(self, dimension: Dimension) -> str | None:
        """The row's value; None where it is not told apart by that."""
        asked = self.question.group_by
        return self.row.group[asked.index(dimension)] if self.row is not None and dimension in asked else None


@dataclass(frozen=True, slots=True)
class Report:
    """An answer and its question. `rows` are the answer's."""

    question: Question
    answer: Answer
    rows: list[Shown]


async def usage(_: None, info: Info, **given: Any) -> Report:
    """As asked, of what the caller may see."""
    context, selected = info.context, set(_selected(info))
    group_by = tuple(Dimension[name.upper()] for name in given.get("group_by") or ())
    bucket = Bucket(given["bucket"]) if given.get("bucket") else Bucket.NONE
    fill = given.get("fill")
    question = Question(
        span=await _span(context, given.get("range") or {}, given.get("time_zone")),
        bucket=bucket,
        group_by=group_by,
        filters=dict(_filters(given.get("wanted") or {})),
        user_id=None if context.may(Role.OPERATOR) else context.principal.user_id,
        top=_top(given.get("top")),
        order=_order(given.get("order_by") or {}),
        fill=bucket is not Bucket.NONE if fill is None else fill,
        durations=tuple(name for name in HISTOGRAMS if any(field.startswith(name) for field in selected)),
        asker=context.principal.user_id,
    )
    answer = await context.edge.analytics.ask(question)
    named = await _named(context, question, answer, selected)
    return Report(question, answer, await asyncio.to_thread(_shown, question, answer, named))


def _shown(question: Question, answer: Answer, named: Named) -> list[Shown]:
    return [Shown(row.figures, question, row, named) for row in answer.rows]


async def _named(context: Context, question: Question, answer: Answer, selected: Collection[str]) -> Named:
    """The users and organisations of the rows, where somebody asks for them: some at a time, each once."""
    named: dict[tuple[Dimension, str | None], Any] = {}
    for dimension, (name, find) in _NAMED.items():
        if dimension in question.group_by and name in selected and context.may(Role.OPERATOR):
            place = question.group_by.index(dimension)
            ids = sorted({row.group[place] or "" for row in answer.rows} - {""})
            for first in range(0, len(ids), _AT_ONCE):
                found = await find(context.edge.postgres, ids[first : first + _AT_ONCE])
                named.update({(dimension, identity): one for identity, one in found.items()})
    return named


async def _span(context: Context, given: Mapping[str, Any], zone_name: str | None) -> Span:
    edge, principal = context.edge, context.principal
    if zone_name is None:
        zone_name = (await reads.get_organisation(edge.postgres, principal.organisation_id)).time_zone
    else:
        await asyncio.to_thread(values.time_zone, zone_name)
    zone, now = await edge.directory.zones.of(zone_name), edge.clock.now()
    since, until, days = given.get("from"), given.get("to"), given.get("days")
    if days is None:
        return span(_text(since), _text(until), zone, now=now)
    if since is not None or until is not None or not 1 <= days <= _FURTHEST_DAYS:
        raise invalid(f"Expected `days` from 1 to {_FURTHEST_DAYS}, without `from` and `to`.", "range")
    first = now.astimezone(zone).date() - timedelta(days=days - 1)
    return span(first.isoformat(), None, zone, now=now)


def _text(end: datetime | None) -> str | None:
    return None if end is None else end.isoformat()


def _filters(wanted: Mapping[str, Any]) -> Iterator[tuple[Dimension, tuple[str, ...]]]:
    for name, chosen in wanted.items():
        if chosen is not None:
            kind = _IDS.get(name)
            plain = chosen if kind is None else [plain_id(kind, value) for value in chosen]
            yield Dimension[name.upper()], tuple(plain)


def _top(given: Mapping[str, Any] | None) -> Top | None:
    if given is None:
        return None
    by = Measure(given.get("by") or Measure.COST)
    return Top(count=given["count"], by=by, others=bool(given.get("others")))


def _order(given: Mapping[str, Any]) -> Order:
    by = given.get("by")
    return Order(by=None if by is None else Measure(by), descending=bool(given.get("descending")))


def _selected(info: Info) -> Iterator[str]:
    """The names of all fields below, each fragment looked at once."""
    waiting: list[SelectionSetNode | None] = [node.selection_set for node in info.field_nodes]
    seen: set[str] = set()
    while waiting:
        chosen = waiting.pop()
        for node in chosen.selections if chosen is not None else ():
            if isinstance(node, FieldNode):
                yield node.name.value
                waiting.append(node.selection_set)
            elif isinstance(node, InlineFragmentNode):
                waiting.append(node.selection_set)
            elif isinstance(node, FragmentSpreadNode) and node.name.value not in seen:
                seen.add(node.name.value)
                waiting.append(info.fragments[node.name.value].selection_set)


def _share(name: str, place: int) -> Resolver:
    def resolve(source: Shown, _: Info) -> float | None:
        found: tuple[float | None, ...] = getattr(source, name)
        return found[place]

    return resolve


def _key(dimension: Dimension, kind: str | None = None) -> Resolver:
    def resolve(source: Shown, _: Info) -> str | None:
        value = source.key(dimension)
        return value if kind is None or value is None else global_id(kind, value)

    return resolve


def _whole(dimension: Dimension) -> Resolver:
    return lambda source, _: source.named.get((dimension, source.key(dimension)))


_FIGURES: Final[Mapping[str, str | Resolver]] = {
    "requests": "figures.requests",
    "errors": "figures.errors",
    "denied": "figures.denied",
    "tokensIn": "figures.tokens_in",
    "tokensOut": "figures.tokens_out",
    "costUsd": "figures.cost_usd",
    "latencyP50Ms": _share("latency", 0),
    "latencyP95Ms": _share("latency", 1),
    "latencyP99Ms": _share("latency", 2),
    "ttftP50Ms": _share("ttft", 0),
    "ttftP95Ms": _share("ttft", 1),
}

TYPES = {
    "UsageReport": Type(
        Report,
        {
            "from": "question.span.since",
            "to": "question.span.until",
            "timeZone": lambda source, _: str(source.question.span.zone),
            "bucket": lambda source, _: None if source.question.bucket is Bucket.NONE else source.question.bucket,
            "groupBy": lambda source, _: [dimension.name.lower() for dimension in source.question.group_by],
            "buckets": "answer.buckets",
            "totals": lambda source, _: Shown(source.answer.totals, source.question),
        },
    ),
    "UsageTotals": Type(Shown, _FIGURES),
    "UsageRow": Type(
        Shown,
        {
            **_FIGURES,
            "start": "row.bucket",
            "others": "row.others",
            "userId": _key(Dimension.USER, "User"),
            "user": _whole(Dimension.USER),
            "organisationId": _key(Dimension.ORGANISATION, "Organisation"),
            "organisation": _whole(Dimension.ORGANISATION),
            **{
                dimension.name.lower(): _key(dimension)
                for dimension in Dimension
                if dimension not in (Dimension.USER, Dimension.ORGANISATION)
            },
        },
    ),
}
