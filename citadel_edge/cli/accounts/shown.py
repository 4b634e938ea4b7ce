"""How rows of the API read: cells of a table, or the lines of one thing. Pure but for the printing.

Decides how times, numbers and nothing look. Refuses to know what is asked.
"""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from citadel_edge.cli.accounts.limit_values import LIMITS, PARTS, Sheet, said
from citadel_edge.cli.console import Cell, Tone, show_fields, show_table

Row = Mapping[str, Any]
_TONES: Final = {"suspended": Tone.ODD, "revoked": Tone.QUIET, "expired": Tone.QUIET}
SHEETS: Final = ("limits", "overrides")
_SECONDS: Final = 19
"""Of `2026-11-23T12:30:05.123456Z`, so many characters are the time to the second."""
_UNITS: Final = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_EXACT: Final = 2**53


def text(value: Any) -> str:
    """A value for people; nothing is an empty text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, list | tuple):
        return ", ".join(map(text, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={text(each)}" for name, each in value.items())
    return str(value)


def number(value: float) -> str:
    """A number without what a computer makes of it: at most 9 digits behind the point, none needlessly."""
    if value == int(value) and abs(value) < _EXACT:
        return str(int(value))
    return f"{value:.9f}".rstrip("0").rstrip(".")


def limit(value: float | None) -> str:
    """A limit: null is none at all."""
    return "none" if value is None else number(value)


def duration(seconds: float | None) -> str:
    """So long in its two largest units; parts of a second count as one."""
    if seconds is None:
        return ""
    left = math.ceil(seconds)
    for (unit, size), (smaller, part) in pairwise(_UNITS.items()):
        if left >= size:
            rest = left % size // part
            return f"{left // size}{unit} {rest}{smaller}" if rest else f"{left // size}{unit}"
    return f"{left}s"


def sheet(limits: Sheet) -> str:
    """Limits in one line, as the command line takes them."""
    burst = [f"burst={number(limits['burst'])}"] if limits.get("burst") is not None else []
    return ", ".join([*(f"{where}={limit(value)}" for where, value in said(limits)), *burst])


def moment(value: str | None) -> str:
    """A time to the second, in UTC as the API sends it; another offset stays as it is."""
    if value is None or not value.endswith(("Z", "+00:00")):
        return value or ""
    return f"{value[:_SECONDS].replace('T', ' ')}Z"


def cell(name: str, value: Any) -> Cell:
    """The value of a field: what ends in `_at` is a time, a limit may be none, a state has its tone."""
    if name in LIMITS:
        return Cell(limit(value), Tone.QUIET if value is None else Tone.PLAIN)
    if name in SHEETS and isinstance(value, Mapping):
        return Cell(sheet(value))
    if name in PARTS:
        return Cell(sheet({name: value}))
    if name == "at" or name.endswith("_at"):
        return Cell(moment(value))
    return Cell(text(value), _TONES.get(value, Tone.PLAIN) if name == "state" else Tone.PLAIN)


def table_of(columns: Mapping[str, str]) -> Callable[[Row], None]:
    """What shows a page `{data, next}`; `columns`: heads by the name of the field."""

    def show(page: Row) -> None:
        show_rows(columns, page["data"])
        if page.get("next") is not None:
            print("There are more: --all shows every one, --limit so many.", file=sys.stderr)

    return show


def show_rows(columns: Mapping[str, str], rows: Sequence[Row]) -> None:
    """A table of rows."""
    show_table(list(columns.values()), [[cell(name, row.get(name)) for name in columns] for row in rows])


def show_thing(thing: Row) -> None:
    """All the fields of one thing."""
    show_fields({name: cell(name, value) for name, value in thing.items()})


def show_ended(answer: Row) -> None:
    """What was deleted."""
    print(f"deleted {answer['deleted']}")
