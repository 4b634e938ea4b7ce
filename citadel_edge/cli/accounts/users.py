"""`users`: who may use the edge, in which tier and role, and what they used."""

import argparse
from typing import Any, Final

from citadel_edge.accounts.principal import Role
from citadel_edge.accounts.users import UserState
from citadel_edge.cli.accounts import taken
from citadel_edge.cli.accounts.actions import act, add_actions, asked
from citadel_edge.cli.accounts.api import Accounts, path_of
from citadel_edge.cli.accounts.shown import show_ended, show_thing, table_of
from citadel_edge.cli.accounts.usage import usage_of

_COLUMNS: Final = {
    "id": "ID",
    "name": "NAME",
    "state": "STATE",
    "role": "ROLE",
    "tier": "TIER",
    "organisation_id": "ORGANISATION",
    "created_at": "CREATED",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions of `users`."""
    add_actions(parser, _ACTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Do the action that was named."""
    return act(arguments)


def _takes_list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--organisation", metavar="O", help="of one organisation, by id or name")
    parser.add_argument("--tier", metavar="T", help="in one tier")
    parser.add_argument("--role", choices=[role.value for role in Role], help="with one role")
    parser.add_argument("--state", choices=[state.value for state in UserState], help="in one state")
    parser.add_argument("--name", help="whose name begins so")
    taken.add_page(parser)


def _list(accounts: Accounts, arguments: argparse.Namespace) -> dict[str, Any]:
    query = taken.given(arguments, "tier", "role", "state", "name")
    if arguments.organisation is not None:
        query["organisation"] = accounts.organisation_id(arguments.organisation)
    return accounts.rows("/v1/users", query, most=taken.most(arguments))


def _get(accounts: Accounts, arguments: argparse.Namespace) -> dict[str, Any]:
    return accounts.get(_path(accounts, arguments)).read()


def _takes_new(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="no other user of the organisation has it")
    parser.add_argument("--tier", required=True, metavar="T", help="where the limits come from")
    _takes_place(parser, organisation="(default)", role="(user)")


def _takes_changes(parser: argparse.ArgumentParser) -> None:
    taken.add_user(parser)
    parser.add_argument("--name", help="the new name")
    parser.add_argument("--tier", metavar="T", help="the new tier")
    _takes_place(parser, organisation="from now on", role="from now on")


def _takes_place(parser: argparse.ArgumentParser, *, organisation: str, role: str) -> None:
    parser.add_argument("--organisation", metavar="O", help=f"the organisation, by id or name {organisation}")
    parser.add_argument("--role", choices=[each.value for each in Role], help=f"what the keys may do {role}")


def _create(accounts: Accounts, arguments: argparse.Namespace) -> dict[str, Any]:
    return accounts.create("/v1/users", taken.given(arguments, "name", "tier", "organisation", "role"))


def _update(accounts: Accounts, arguments: argparse.Namespace) -> dict[str, Any]:
    fields = taken.changes(arguments, "name", "tier", "organisation", "role")
    return accounts.update(_path(accounts, arguments), fields)


def _suspend(accounts: Accounts, arguments: argparse.Namespace) -> dict[str, Any]:
    return accounts.update(_path(accounts, arguments), {"state": UserState.SUSPENDED.value})


def _activate(accounts: Accounts, arguments: argparse.Namespace) -> dict[str, Any]:
    return accounts.update(_path(accounts, arguments), {"state": UserState.ACTIVE.value})


def _takes_end(parser: argparse.ArgumentParser) -> None:
    taken.add_user(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask")


def _delete(accounts: Accounts, arguments: argparse.Namespace) -> dict[str, Any]:
    user = _get(accounts, arguments)
    taken.confirm(f"delete the user {user['name']} ({user['id']}) and the keys", yes=arguments.yes)
    accounts.delete(path_of("users", user["id"]))
    return {"deleted": user["id"]}


def _path(accounts: Accounts, arguments: argparse.Namespace) -> str:
    return path_of("users", accounts.user_id(arguments.user))


_ACTIONS: Final = (
    asked("list", "list users, oldest first", takes=_takes_list, do=_list, show=table_of(_COLUMNS)),
    asked("get", "show one user", takes=taken.add_user, do=_get, show=show_thing),
    asked("create", "make a user", takes=_takes_new, do=_create, show=show_thing),
    asked("update", "change a user", takes=_takes_changes, do=_update, show=show_thing),
    asked(
        "suspend", "refuse a user's keys until they are activated", takes=taken.add_user, do=_suspend, show=show_thing
    ),
    asked("activate", "let a suspended user in again", takes=taken.add_user, do=_activate, show=show_thing),
    asked("delete", "delete a user and the keys; usage and audit stay", takes=_takes_end, do=_delete, show=show_ended),
    usage_of(
        "users",
        takes=taken.add_user,
        whose=lambda accounts, arguments: accounts.user_id(arguments.user),
        by="day, model, key",
    ),
)
