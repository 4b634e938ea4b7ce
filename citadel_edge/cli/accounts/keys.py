"""`keys`: what users call the edge with. A key's text is printed when it is made, alone, and never again."""

import argparse
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from citadel_edge.accounts.api_keys import KeyState
from citadel_edge.cli.accounts import taken
from citadel_edge.cli.accounts.actions import act, add_actions, asked
from citadel_edge.cli.accounts.api import Accounts, path_of
from citadel_edge.cli.accounts.bootstrap import BOOTSTRAP, SHOWN_ONCE
from citadel_edge.cli.accounts.shown import Row, show_thing, table_of
from citadel_edge.errors import StartError
from citadel_edge.telemetry.clock import Clock

_COLUMNS: Final = {
    "id": "ID",
    "name": "NAME",
    "state": "STATE",
    "created_at": "CREATED",
    "expires_at": "EXPIRES",
    "last_used_at": "LAST USED",
    "replaced_by": "REPLACED BY",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions of `keys`."""
    add_actions(parser, _ACTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Do the action that was named."""
    return act(arguments)


def state_of(key: Mapping[str, Any], now: datetime) -> KeyState:
    """How a key is, by the times that the API says."""
    if key["revoked_at"] is not None:
        return KeyState.REVOKED
    expires = key["expires_at"]
    return KeyState.EXPIRED if expires is not None and datetime.fromisoformat(expires) <= now else KeyState.ACTIVE


def _takes_list(parser: argparse.ArgumentParser) -> None:
    taken.add_user(parser)
    parser.add_argument("--state", choices=[state.value for state in KeyState], help="in one state")
    taken.add_page(parser)


def _list(accounts: Accounts, arguments: argparse.Namespace) -> dict[str, Any]:
    return accounts.rows(_path(accounts, arguments), taken.given(arguments, "state"), most=taken.most(arguments))


def _show_list(page: Row) -> None:
    now = Clock().now()
    table_of(_COLUMNS)({**page, "data": [{**key, "state": state_of(key, now)} for key in page["data"]]})


def _takes_new(parser: argparse.ArgumentParser) -> None:
    taken.add_user(parser)
    parser.add_argument("--name", help="what it is for (default)")
    taken.add_expiry(parser, "the key")


def _create(accounts: Accounts, arguments: argparse.Namespace) -> dict[str, Any]:
    body = {**taken.given(arguments, "name"), **taken.expiry(accounts, arguments)}
    return _made(accounts, accounts.user_id(arguments.user), [], body)


def _takes_rotation(parser: argparse.ArgumentParser) -> None:
    _takes_key(parser)
    parser.add_argument(
        "--overlap-s", type=taken.amount, metavar="S", help="seconds for which the old key goes on (0: it ends at once)"
    )


def _rotate(accounts: Accounts, arguments: argparse.Namespace) -> dict[str, Any]:
    user_id = accounts.user_id(arguments.user)
    return _made(accounts, user_id, [arguments.key_id, "rotate"], taken.given(arguments, "overlap_s"))


def _made(accounts: Accounts, user_id: str, behind: list[str], body: dict[str, Any]) -> dict[str, Any]:
    """A new key with its text. If that was lost on the way, nobody has it: another key takes its place at once.

    Raises:
        StartError: it was lost once more.
    """
    made = accounts.create(path_of("users", user_id, "keys", *behind), body)
    if made["key"] is None:
        made = accounts.create(path_of("users", user_id, "keys", made["id"], "rotate"), {})
    if made["key"] is None:
        raise StartError(f"the key {made['id']} was made and its text is lost: revoke it and make another one")
    return made


def _takes_key(parser: argparse.ArgumentParser) -> None:
    taken.add_user(parser)
    parser.add_argument("key_id", metavar="KEY", help="the key's id, as list shows it")


def _revoke(accounts: Accounts, arguments: argparse.Namespace) -> Any:
    return accounts.delete(_path(accounts, arguments, arguments.key_id)).read()


def _show_made(made: Row) -> None:
    print(made["key"])
    print(f"{made['id']}: {SHOWN_ONCE}", file=sys.stderr)


def _path(accounts: Accounts, arguments: argparse.Namespace, *behind: str) -> str:
    return path_of("users", accounts.user_id(arguments.user), "keys", *behind)


_ACTIONS: Final = (
    BOOTSTRAP,
    asked("list", "list a user's keys, ended ones too", takes=_takes_list, do=_list, show=_show_list),
    asked("create", "make a key and print it, once", takes=_takes_new, do=_create, show=_show_made),
    asked("rotate", "put a new key in a key's place and print it", takes=_takes_rotation, do=_rotate, show=_show_made),
    asked("revoke", "end a key everywhere", takes=_takes_key, do=_revoke, show=show_thing),
)
