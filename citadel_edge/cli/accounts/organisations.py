"""`organisations`: what users belong to, with the time zone in which quotas begin anew and limits that all share."""

import argparse
from typing import Any, Final

from citadel_edge.cli.accounts import taken
from citadel_edge.cli.accounts.actions import act, add_actions, asked
from citadel_edge.cli.accounts.api import Accounts, path_of
from citadel_edge.cli.accounts.limit_values import add_limits, with_limits
from citadel_edge.cli.accounts.shown import Row, show_ended, show_thing, table_of
from citadel_edge.cli.accounts.usage import usage_of

_COLUMNS: Final = {"id": "ID", "name": "NAME", "time_zone": "TIME ZONE", "limits": "LIMITS", "created_at": "CREATED"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions of `organisations`."""
    add_actions(parser, _ACTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Do the action that was named."""
    return act(arguments)


def _takes_list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", help="whose name begins so")
    taken.add_page(parser)


def _list(accounts: Accounts, arguments: argparse.Namespace) -> dict[str, Any]:
    return accounts.rows("/v1/organisations", taken.given(arguments, "name"), most=taken.most(arguments))


def _takes_one(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("organisation", metavar="ORGANISATION", help="an organisation's id or name")


def _get(accounts: Accounts, arguments: argparse.Namespace) -> dict[str, Any]:
    return accounts.get(_path(accounts, arguments)).read()


def _takes_new(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="no other organisation has it")
    _takes_fields(parser, "(UTC)")


def _takes_changes(parser: argparse.ArgumentParser) -> None:
    _takes_one(parser)
    parser.add_argument("--name", help="the new name")
    _takes_fields(parser, "from now on")


def _takes_fields(parser: argparse.ArgumentParser, when: str) -> None:
    words = f"in which days and months begin, as Europe/Berlin {when}"
    parser.add_argument("--time-zone", metavar="ZONE", help=words)
    add_limits(parser, "what all its users share")
    words = "how much of a minute's limit all its users may take at once, 0 to 1"
    parser.add_argument("--burst", type=taken.amount, metavar="PART", help=words)


def _create(accounts: Accounts, arguments: argparse.Namespace) -> dict[str, Any]:
    return accounts.create("/v1/organisations", _fields(arguments, {}))


def _update(accounts: Accounts, arguments: argparse.Namespace) -> dict[str, Any]:
    taken.changes(arguments, "name", "time_zone", "limits", "burst")
    return accounts.merge(_path(accounts, arguments), lambda seen: _fields(arguments, seen))


def _fields(arguments: argparse.Namespace, seen: Row) -> dict[str, Any]:
    """What was given; limits are put among those that were seen."""
    plain = taken.given(arguments, "name", "time_zone")
    burst = taken.given(arguments, "burst")
    if arguments.limits is None and not burst:
        return plain
    return {**plain, "limits": {**with_limits(seen.get("limits", {}), arguments.limits or ()), **burst}}


def _delete(accounts: Accounts, arguments: argparse.Namespace) -> dict[str, Any]:
    identity = accounts.organisation_id(arguments.organisation)
    accounts.delete(path_of("organisations", identity))
    return {"deleted": identity}


def _path(accounts: Accounts, arguments: argparse.Namespace) -> str:
    return path_of("organisations", accounts.organisation_id(arguments.organisation))


_ACTIONS: Final = (
    asked("list", "list organisations, oldest first", takes=_takes_list, do=_list, show=table_of(_COLUMNS)),
    asked("get", "show one organisation", takes=_takes_one, do=_get, show=show_thing),
    asked("create", "make an organisation", takes=_takes_new, do=_create, show=show_thing),
    asked("update", "change an organisation", takes=_takes_changes, do=_update, show=show_thing),
    asked("delete", "delete an organisation without users", takes=_takes_one, do=_delete, show=show_ended),
    usage_of(
        "organisations",
        takes=_takes_one,
        whose=lambda accounts, arguments: accounts.organisation_id(arguments.organisation),
        by="day, user, model, key",
    ),
)
