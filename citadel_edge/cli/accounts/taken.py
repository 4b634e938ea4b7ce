"""Arguments that the actions share, and the values they take. What can't be is a usage error, said by argparse.

Decides how times, lists and confirmations are written on the command line.
"""

import argparse
import re
import sys
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from citadel_edge.cli.accounts.api import Accounts
from citadel_edge.errors import ConfigError, Problem, StartError

ROWS: Final = 50
_FLAGS: Final = {"limits": "limit"}
_SPAN: Final = re.compile(r"(\d{1,6})([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def add_user(parser: argparse.ArgumentParser) -> None:
    """Which user is meant."""
    parser.add_argument("user", metavar="USER", help="a user's id, the name where only one has it, or me")


def add_page(parser: argparse.ArgumentParser) -> None:
    """How much of a list."""
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--limit", type=count, default=ROWS, metavar="N", help=f"show N at most ({ROWS})")
    size.add_argument("--all", action="store_true", help="show every one")


def add_span(parser: argparse.ArgumentParser, what: str) -> None:
    """From when until when."""
    parser.add_argument("--from", dest="since", metavar="TIME", help=f"{what} since then, as 2026-11-01 or with a time")
    parser.add_argument("--to", dest="until", metavar="TIME", help="before then")


def add_expiry(parser: argparse.ArgumentParser, what: str) -> None:
    """When it ends."""
    words = f"when {what} ends: 2027-01-31T00:00:00Z, or after 90d, 12h, 30m or 60s (never)"
    parser.add_argument("--expires", type=_expiry, metavar="TIME", help=words)


def span(arguments: argparse.Namespace) -> dict[str, str]:
    """`from` and `to`, as they were given."""
    ends = {"from": arguments.since, "to": arguments.until}
    return {name: time for name, time in ends.items() if time is not None}


def most(arguments: argparse.Namespace) -> int | None:
    """How many rows are asked for; None is all of them."""
    return None if arguments.all else int(arguments.limit)


def given(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Those of the arguments that were given."""
    return {name: value for name in names if (value := getattr(arguments, name)) is not None}


def changes(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Those of the arguments that were given. Raises `ConfigError` when none was: there is nothing to change."""
    fields = given(arguments, *names)
    if not fields:
        raise nothing_to_change(*names)
    return fields


def nothing_to_change(*names: str) -> ConfigError:
    """A change without a change."""
    flags = ", ".join(f"--{_FLAGS.get(name, name).replace('_', '-')}" for name in names)
    return ConfigError([Problem("update", f"there is nothing to change: give one of {flags}")])


def expiry(accounts: Accounts, arguments: argparse.Namespace) -> dict[str, str]:
    """`expires_at`, if there is to be one."""
    value = arguments.expires
    if value is None:
        return {}
    moment = accounts.clock.now() + value if isinstance(value, timedelta) else value
    return {"expires_at": moment.isoformat()}


def count(value: str) -> int:
    """A whole number from 1."""
    if not (value.isascii() and value.isdecimal() and int(value) > 0):
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {value!r}")
    return int(value)


def amount(value: str) -> float:
    """A number from 0."""
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number from 0, got {value!r}")
    return number


def words(value: str) -> list[str]:
    """A list with commas."""
    return [word.strip() for word in value.split(",") if word.strip()]


def confirm(what: str, *, yes: bool) -> None:
    """Go on only if somebody says so: `--yes`, or `y` at a terminal.

    Raises:
        ConfigError: nobody can be asked.
        StartError: the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError([Problem("--yes", f"needed to {what} where nobody can be asked")])
    print(f"{what[0].upper()}{what[1:]}? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise StartError("nothing was done")


def _expiry(value: str) -> datetime | timedelta:
    """A time, or how long from now. A date is its beginning, and without an offset a time is UTC's."""
    if span := _SPAN.fullmatch(value):
        return timedelta(**{_UNITS[span[2]]: int(span[1])})
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a time as 2027-01-31T00:00:00Z or 90d, got {value!r}") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
