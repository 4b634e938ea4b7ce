"""Limits as they are written on the command line: `tokens_per_day=5000`, `mixtral-8x7b:usd_per_month=none`. Pure.

Decides how a limit is named and what a value may look like, and how some limits of a sheet are set or cleared while the
others stay. Refuses to know whose they are: tiers, users and organisations take the same ones.
"""

import argparse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from citadel_edge.cli.accounts.taken import amount
from citadel_edge.limits.values import KINDS, LimitName, Unit

NONE: Final = "none"
LIMITS: Final = {
    LimitName.REQUESTS_PER_MINUTE.value: "REQUESTS/MIN",
    LimitName.TOKENS_PER_MINUTE.value: "TOKENS/MIN",
    LimitName.CONCURRENT.value: "CONCURRENT",
    LimitName.TOKENS_PER_DAY.value: "TOKENS/DAY",
    LimitName.TOKENS_PER_MONTH.value: "TOKENS/MONTH",
    LimitName.USD_PER_MONTH.value: "USD/MONTH",
}
"""Heads of columns by the limits' public names."""
Value = int | float | None
Sheet = Mapping[str, Any]
"""Limits by name; those of one model or endpoint in `by_model` and `by_endpoint`."""


@dataclass(frozen=True, slots=True)
class Place:
    """One limit of a sheet. `scope`: the model, or (with its slash) the endpoint, that it is for alone; empty: all."""

    scope: str
    name: str

    @property
    def part(self) -> str:
        """Where in a sheet limits of such a scope are."""
        return PARTS[self.scope.startswith("/")]

    def __str__(self) -> str:
        return f"{self.scope}:{self.name}" if self.scope else self.name


Assignment = tuple[Place, Value]
PARTS: Final = ("by_model", "by_endpoint")
"""Where in a sheet limits of one model or endpoint alone are."""


def add_limits(parser: argparse.ArgumentParser, what: str) -> None:
    """Limits to set, one a flag."""
    words = f"{what}, as tokens_per_day=5000 or mixtral-8x7b:usd_per_month=none; may be repeated"
    parser.add_argument("--limit", dest="limits", action="append", type=assignment, metavar="LIMIT=VALUE", help=words)


def value_type(name: str) -> Callable[[str], Value]:
    """What reads a value of this limit: whole numbers, or dollars; `none` is no limit."""
    return _usd if KINDS[LimitName(name)][1] is Unit.NANO_USD else _whole


def place(text: str) -> Place:
    """`name`, `model:name` or `/endpoint:name`; a model's own name may hold colons."""
    scope, colon, name = text.rpartition(":")
    if name not in LIMITS or (colon and not scope):
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(LIMITS)}, or MODEL:LIMIT, got {text!r}")
    return Place(scope, name)


def assignment(text: str) -> Assignment:
    """`name=value`, `model:name=value` or `/endpoint:name=value`."""
    named, equals, value = text.rpartition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"expected LIMIT=VALUE as in tokens_per_day=5000, got {text!r}")
    where = place(named)
    return where, value_type(where.name)(value)


def with_limits(sheet: Sheet, assignments: Iterable[Assignment]) -> dict[str, Any]:
    """The sheet with these limits set; all others stay."""
    made = dict(sheet)
    for where, value in assignments:
        if not where.scope:
            made[where.name] = value
            continue
        part = made.get(where.part) or {}
        made[where.part] = {**part, where.scope: {**part.get(where.scope, {}), where.name: value}}
    return made


def without(sheet: Sheet, places: Iterable[Place]) -> dict[str, Any]:
    """The sheet with nothing said of these limits; all others stay."""
    made = dict(sheet)
    for where in places:
        if not where.scope:
            made.pop(where.name, None)
            continue
        part = {scope: dict(limits) for scope, limits in (made.pop(where.part, None) or {}).items()}
        part.get(where.scope, {}).pop(where.name, None)
        if left := {scope: limits for scope, limits in part.items() if limits}:
            made[where.part] = left
    return made


def said(sheet: Sheet) -> list[Assignment]:
    """Every limit that a sheet says something of, in order."""
    found = [(Place("", name), sheet[name]) for name in LIMITS if name in sheet]
    for part in PARTS:
        for scope, limits in (sheet.get(part) or {}).items():
            found += [(Place(scope, name), limits[name]) for name in LIMITS if name in limits]
    return found


def _whole(value: str) -> int | None:
    if value == NONE:
        return None
    if not (value.isascii() and value.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, or {NONE}, got {value!r}")
    return int(value)


def _usd(value: str) -> float | None:
    return None if value == NONE else amount(value)
