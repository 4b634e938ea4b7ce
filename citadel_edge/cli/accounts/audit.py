"""`audit`: who changed what of the accounts and the fleet, and when."""

import argparse
from collections.abc import Mapping
from typing import Any, Final

from citadel_edge.cli.accounts import taken
from citadel_edge.cli.accounts.actions import act, add_actions, asked
from citadel_edge.cli.accounts.api import Accounts
from citadel_edge.cli.accounts.shown import Row, cell, table_of

_COLUMNS: Final = {"at": "AT", "who": "WHO", "action": "ACTION", "subject": "SUBJECT", "change": "CHANGE"}
_ALWAYS_CHANGE: Final = ("version", "updated_at")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions of `audit`."""
    add_actions(parser, _ACTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Do the action that was named."""
    return act(arguments)


def change_of(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> str:
    """What differs between two rows in few words; of a thing that was made or deleted, nothing."""
    if before is None or after is None:
        return ""
    names = [name for name in after if name not in _ALWAYS_CHANGE and before.get(name) != after[name]]
    return ", ".join(f"{name}: {_words(name, before.get(name))} → {_words(name, after[name])}" for name in names)


def _words(name: str, value: Any) -> str:
    return cell(name, value).text or "none"


def _takes_list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--subject", metavar="ID", help="of one user, key, organisation or upstream, or of a tier's name"
    )
    parser.add_argument("--who", metavar="ID", help="by one user, or a part of the process as bootstrap")
    parser.add_argument("--action", metavar="NAME", help="of one kind, as create_user")
    taken.add_span(parser, "changes")
    taken.add_page(parser)


def _list(accounts: Accounts, arguments: argparse.Namespace) -> dict[str, Any]:
    query = {**taken.given(arguments, "subject", "who", "action"), **taken.span(arguments)}
    return accounts.rows("/v1/audit", query, most=taken.most(arguments))


def _show(page: Row) -> None:
    rows = [{**entry, "change": change_of(entry["before"], entry["after"])} for entry in page["data"]]
    table_of(_COLUMNS)({**page, "data": rows})


_ACTIONS: Final = (asked("list", "list changes, latest first", takes=_takes_list, do=_list, show=_show),)
