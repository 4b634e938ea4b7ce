"""`tiers`: the plans that users' limits come from."""

import argparse
from typing import Any, Final, TypedDict

import msgspec

from citadel_edge.cli.accounts import taken
from citadel_edge.cli.accounts.actions import act, add_actions, asked
from citadel_edge.cli.accounts.api import Accounts, path_of
from citadel_edge.cli.accounts.limit_values import LIMITS, PARTS, add_limits, value_type, with_limits
from citadel_edge.cli.accounts.shown import Row, show_ended, show_thing, table_of
from citadel_edge.cli.options import read_input
from citadel_edge.errors import ConfigError, Problem

_HEADS: Final = {"name": "NAME", **LIMITS, "burst": "BURST", "priority": "PRIORITY", "models": "MODELS"}
_PLAIN: Final = ("burst", "priority", "models")
_AWAY: Final = {"requests": "requests_on_redis_down", "spend": "spend_on_redis_down"}
_KEPT_BY_THE_API: Final = ("name", "version", "created_at", "updated_at")


class _Fields(TypedDict, total=False):
    """Those fields of a tier in a file that flags may say a part of."""

    on_redis_down: dict[str, Any]
    by_model: dict[str, dict[str, Any]]
    by_endpoint: dict[str, dict[str, Any]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions of `tiers`."""
    add_actions(parser, _ACTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Do the action that was named."""
    return act(arguments)


def _list(accounts: Accounts, arguments: argparse.Namespace) -> dict[str, Any]:
    return accounts.rows("/v1/tiers", {}, most=taken.most(arguments))


def _takes_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the tier")


def _get(accounts: Accounts, arguments: argparse.Namespace) -> dict[str, Any]:
    return accounts.get(path_of("tiers", arguments.name)).read()


def _takes_fields(parser: argparse.ArgumentParser) -> None:
    _takes_name(parser)
    for name in LIMITS:
        _add_field(parser, name, type=value_type(name), metavar="N", help="0 allows nothing; none is no limit")
    add_limits(parser, "a limit, of one model or endpoint alone")
    _add_field(parser, "burst", type=taken.amount, metavar="PART", help="of a minute's limit, at once: 0 to 1")
    _add_field(parser, "priority", type=int, metavar="N", help="0 to 100")
    _add_field(parser, "models", type=taken.words, metavar="A,B", help="the models it may use; * is all")
    for what, name in _AWAY.items():
        _add_field(parser, name, choices=["open", "closed"], help=f"what becomes of {what} while Redis is away")
    parser.add_argument(
        "--from-file", metavar="FILE", help="a JSON object of fields, as get --json prints; - reads standard input"
    )


def _add_field(parser: argparse.ArgumentParser, name: str, **how: Any) -> None:
    parser.add_argument(f"--{name.replace('_', '-')}", dest=name, default=argparse.SUPPRESS, **how)


def _create(accounts: Accounts, arguments: argparse.Namespace) -> dict[str, Any]:
    return accounts.create("/v1/tiers", {"name": arguments.name, **_merged(_said(arguments), arguments, {})})


def _update(accounts: Accounts, arguments: argparse.Namespace) -> dict[str, Any]:
    said = _said(arguments)
    if not _merged(said, arguments, {}):
        raise taken.nothing_to_change("from_file", *LIMITS, "limits", *_PLAIN, *_AWAY.values())
    return accounts.merge(path_of("tiers", arguments.name), lambda seen: _merged(said, arguments, seen))


def _delete(accounts: Accounts, arguments: argparse.Namespace) -> dict[str, Any]:
    accounts.delete(path_of("tiers", arguments.name))
    return {"deleted": arguments.name}


def _said(arguments: argparse.Namespace) -> dict[str, Any]:
    """The file's fields, and over them those of the flags that say a whole field."""
    fields = {} if arguments.from_file is None else _file(arguments.from_file)
    flags = vars(arguments)
    return {**fields, **{name: flags[name] for name in (*LIMITS, *_PLAIN) if name in flags}}


def _file(name: str) -> dict[str, Any]:
    """Without what is not a tier's to say, so that one tier's answer makes another."""
    body = read_input(name, "--from-file")
    try:
        msgspec.json.decode(body, type=_Fields)
        fields = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ConfigError([Problem("--from-file", f"expected a JSON object of a tier's fields: {error}")]) from error
    return {field: value for field, value in fields.items() if field not in _KEPT_BY_THE_API}


def _merged(said: dict[str, Any], arguments: argparse.Namespace, seen: Row) -> dict[str, Any]:
    """With what the flags say of a part of a field; the rest of it is as the file has it, or else as it was seen."""
    flags = vars(arguments)
    away = {what: flags[name] for what, name in _AWAY.items() if name in flags}
    before = {**seen, **said}
    sheet = {part: before[part] for part in PARTS if before.get(part)}
    return {
        **said,
        **({"on_redis_down": {**before.get("on_redis_down", {}), **away}} if away else {}),
        **(with_limits(sheet, arguments.limits) if arguments.limits else {}),
    }


_ACTIONS: Final = (
    asked("list", "list tiers by name", takes=taken.add_page, do=_list, show=table_of(_HEADS)),
    asked("get", "show one tier", takes=_takes_name, do=_get, show=show_thing),
    asked("create", "make a tier", takes=_takes_fields, do=_create, show=show_thing),
    asked("update", "change a tier, for all its users", takes=_takes_fields, do=_update, show=show_thing),
    asked("delete", "delete a tier without users", takes=_takes_name, do=_delete, show=show_ended),
)
