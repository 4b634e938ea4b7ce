"""`users usage` and `organisations usage`: what was used, as a table, JSON or comma-separated values."""

import argparse
from collections.abc import Callable
from pathlib import Path

from citadel_edge.cli.accounts import taken
from citadel_edge.cli.accounts.actions import Action, Arguments, accounts_of, print_answer
from citadel_edge.cli.accounts.api import Accounts, path_of
from citadel_edge.cli.accounts.shown import Row, moment, show_rows
from citadel_edge.cli.options import add_asking
from citadel_edge.config.shape import ListenerName
from citadel_edge.errors import ConfigError, Problem


def usage_of(kind: str, *, takes: Arguments, whose: Callable[[Accounts, argparse.Namespace], str], by: str) -> Action:
    """The action `usage` of users or organisations: `whose` says which one's, `by` what it may be told apart by."""

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        takes(parser)
        taken.add_span(parser, "what was used")
        parser.add_argument("--by", metavar="PARTS", help=f"some of {by}: a row for each, as in day,model (the sum)")
        parser.add_argument("--csv", metavar="FILE", help="write comma-separated values there; - is standard output")
        add_asking(parser, ListenerName.RATE_LIMITING.value)

    def run(arguments: argparse.Namespace) -> int:
        if arguments.csv is not None and arguments.json:
            raise ConfigError([Problem("--csv", "give --csv or --json")])
        accounts = accounts_of(arguments)
        _answer(accounts, path_of(kind, whose(accounts, arguments), "usage"), arguments)
        return 0

    return Action("usage", "show what was used, of the last 30 days if nothing is said", add_arguments, run)


def _answer(accounts: Accounts, path: str, arguments: argparse.Namespace) -> None:
    query = {**taken.span(arguments), **taken.given(arguments, "by")}
    if arguments.csv is None:
        print_answer(accounts.rows(path, query, most=None), _show, arguments)
    else:
        _write(arguments.csv, accounts.get(path, {**query, "format": "csv"}).body)


def _write(name: str, body: bytes) -> None:
    if name == "-":
        print(body.decode(), end="")
        return
    try:
        Path(name).write_bytes(body)
    except OSError as error:
        raise ConfigError([Problem("--csv", f"{name}: {error.strerror}")]) from error


def _show(answer: Row) -> None:
    """A row a group, a column a field, in the API's order; the sum of all is the last row."""
    sums = answer["totals"]
    groups = answer["by"]
    last = {**dict(zip(groups[:1], ["total"], strict=False)), **sums}
    print(f"{moment(answer['from'])} to {moment(answer['to'])} ({answer['time_zone']})\n")
    show_rows({name: name.upper().replace("_", " ") for name in (*groups, *sums)}, [*answer["data"], last])
