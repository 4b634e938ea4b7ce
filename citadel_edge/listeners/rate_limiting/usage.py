"""What users and organisations used: sums as JSON, page by page, or all of them as CSV.

Decides how sums look to clients. Refuses to know how they are found.
"""

import re
from contextlib import aclosing
from dataclasses import asdict
from typing import Any, Final

from aiohttp import web

from citadel_edge.accounts import reads
from citadel_edge.accounts.days import span
from citadel_edge.accounts.usage import FIELDS, By, Question, Sums, Usage, UsageRow, groups_of
from citadel_edge.edge import EDGE
from citadel_edge.errors import Code, RequestError
from citadel_edge.listeners.common.payload import one, wanted_page
from citadel_edge.listeners.common.routes import principal_of
from citadel_edge.listeners.common.sink import HttpSink
from citadel_edge.listeners.rate_limiting.csv_text import csv_lines
from citadel_edge.listeners.rate_limiting.whose import whose

USAGE = web.AppKey("usage", Usage)
OF_USERS: Final = (By.DAY, By.MODEL, By.KEY)
OF_ORGANISATIONS: Final = (By.DAY, By.USER, By.MODEL, By.KEY)
_CSV: Final = "text/csv"
_FORMATS: Final = ("json", "csv")


async def user_usage(request: web.Request) -> web.StreamResponse:
    """`GET /v1/users/{id}/usage`: anybody reads the own one."""
    user = await reads.get_user(request.app[EDGE].postgres, whose(request))
    question = await _question(request, user.organisation_id, OF_USERS, user_id=user.id)
    return await _answered(request, question, user.id)


async def organisation_usage(request: web.Request) -> web.StreamResponse:
    """`GET /v1/organisations/{id}/usage`."""
    identity = request.match_info["id"]
    question = await _question(request, identity, OF_ORGANISATIONS, user_id=None)
    return await _answered(request, question, identity)


async def _question(
    request: web.Request, organisation_id: str, allowed: tuple[By, ...], *, user_id: str | None
) -> Question:
    """What is asked for; days are those of the organisation."""
    edge, query = request.app[EDGE], request.query
    by = groups_of(query.get("by"), allowed)
    organisation = await reads.get_organisation(edge.postgres, organisation_id)
    zone = await edge.directory.zones.of(organisation.time_zone)
    return Question(
        span=span(query.get("from"), query.get("to"), zone, now=edge.clock.now()),
        by=by,
        user_id=user_id,
        organisation_id=None if user_id is not None else organisation.id,
        asker=principal_of(request).user_id,
    )


async def _answered(request: web.Request, question: Question, name: str) -> web.StreamResponse:
    if _wants_csv(request):
        return await _as_csv(request, question, name)
    page = await request.app[USAGE].page(question, wanted_page(request))
    asked = question.span
    owner = "organisation_id" if question.user_id is None else "user_id"
    return one(
        {
            owner: name,
            "from": asked.since.astimezone(asked.zone),
            "to": asked.until.astimezone(asked.zone),
            "time_zone": str(asked.zone),
            "by": [FIELDS[by] for by in question.by],
            "data": [_row(row, question) for row in page.rows],
            "totals": _sums(page.totals),
            "next": page.next,
        }
    )


async def _as_csv(request: web.Request, question: Question, name: str) -> web.StreamResponse:
    """All rows, as they come. Whatever can be refused, is before the first byte."""
    heads = [*(FIELDS[by] for by in question.by), *Sums.__dataclass_fields__]
    safe = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
    sink = HttpSink(request, headers={"Content-Disposition": f'attachment; filename="usage-{safe}.csv"'})
    async with aclosing(request.app[USAGE].all_rows(question)) as parts:
        first = await anext(parts)
        await sink.begin(200, f"{_CSV}; charset=utf-8; header=present", {})
        await sink.write(csv_lines([heads, *map(_cells, first)]))
        async for rows in parts:
            await sink.write(csv_lines(map(_cells, rows)))
    await sink.finish()
    if sink.response is None:
        raise RuntimeError("the answer was begun")
    return sink.response


def _wants_csv(request: web.Request) -> bool:
    """`?format=csv`, or without it an `Accept` that names CSV before JSON and whatever there is."""
    asked = request.query.get("format")
    if asked is None:
        accepted = [kind.partition(";")[0].strip() for kind in request.headers.get("Accept", "").split(",")]
        return _CSV in accepted and "application/json" not in accepted
    if asked not in _FORMATS:
        raise RequestError(Code.INVALID_REQUEST, f"Expected one of {', '.join(_FORMATS)}.", param="format")
    return asked == "csv"


def _row(row: UsageRow, question: Question) -> dict[str, Any]:
    return {**{FIELDS[by]: value for by, value in zip(question.by, row.group, strict=True)}, **_sums(row.sums)}


def _sums(sums: Sums) -> dict[str, Any]:
    return {**asdict(sums), "cost_usd": float(sums.cost_usd)}


def _cells(row: UsageRow) -> list[str | int]:
    exact = format(row.sums.cost_usd.normalize(), "f")
    return [*row.group, *{**asdict(row.sums), "cost_usd": exact}.values()]
