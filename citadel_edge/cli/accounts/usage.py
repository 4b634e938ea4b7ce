"""`users usage`: what a user used, as a table for people, JSON for programs or CSV for sheets."""

import argparse
from pathlib import Path
from typing import Final

from citadel_edge.cli.accounts import taken
from citadel_edge.cli.accounts.actions import Action, accounts_of, print_answer
from citadel_edge.cli.accounts.api import path_of
from citadel_edge.cli.accounts.shown import Row, show_rows
from citadel_edge.cli.options import add_asking
from citadel_edge.config.shape import ListenerName
from citadel_edge.errors import ConfigError, Problem


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    taken.add_user(parser)
    taken.add_span(parser, "what was used")
    parser.add_argument("--by", metavar="PARTS", help="a row each day, model and key, as in day,model (the whole)")
    parser.add_argument("--csv", metavar="FILE", help="write comma-separated values there; - is standard output")
    add_asking(parser, ListenerName.RATE_LIMITING.value)


def _run(arguments: argparse.Namespace) -> int:
    """Print the usage, or write it.

    Raises:
        ConfigError: the file can't be written.
        StartError: the process does not answer.
        Refused: it refuses.
    """
    if arguments.csv is not None and arguments.json:
        raise ConfigError([Problem("--csv", "give --csv or --json")])
    accounts = accounts_of(arguments)
    query = {**taken.span(arguments), **taken.given(arguments, "by")}
    path = path_of("users", accounts.user_id(arguments.user), "usage")
    if arguments.csv is None:
        print_answer(accounts.get(path, query).read(), _show, arguments)
    else:
        _write(arguments.csv, accounts.get(path, {**query, "format": "csv"}).body)
    return 0


def _write(name: str, body: bytes) -> None:
    if name == "-":
        print(body.decode(), end="")
        return
    try:
        Path(name).write_bytes(body)
    except OSError as error:
        raise ConfigError([Problem("--csv", f"{name}: {error.strerror}")]) from error


def _show(answer: Row) -> None:
    """A column a field, in the API's order, and the totals as the last line."""
    rows = [*answer["data"], {**answer["totals"]}]
    names = list(dict.fromkeys(name for row in rows for name in row))
    show_rows({name: name.upper().replace("_", " ") for name in names}, rows)


USAGE: Final = Action("usage", "show what a user used", _add_arguments, _run)
