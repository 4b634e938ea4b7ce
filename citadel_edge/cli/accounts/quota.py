"""`quota`: how much a user may still use, and what was said of it beyond the tier: overrides and top-ups."""

import argparse
import sys
from typing import Any, Final

from citadel_edge.cli.accounts import taken
from citadel_edge.cli.accounts.actions import act, add_actions, asked
from citadel_edge.cli.accounts.api import Accounts, path_of
from citadel_edge.cli.accounts.limit_values import assignment, place, with_limits, without
from citadel_edge.cli.accounts.shown import Row, duration, limit, show_ended, show_rows, show_thing, table_of

_LIMITS: Final = {
    "name": "LIMIT",
    "scope": "OF",
    "most": "AT MOST",
    "left": "REMAINING",
    "reset": "RESET",
    "source": "SOURCE",
}
_TOP_UPS: Final = {
    "id": "ID",
    "tokens": "TOKENS",
    "usd": "USD",
    "reason": "REASON",
    "created_at": "CREATED",
    "expires_at": "EXPIRES",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions of `quota`."""
    add_actions(parser, _ACTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Do the action that was named."""
    return act(arguments)


def _get(accounts: Accounts, arguments: argparse.Namespace) -> dict[str, Any]:
    return accounts.get(_path(accounts, arguments)).read()


def _takes_values(parser: argparse.ArgumentParser) -> None:
    taken.add_user(parser)
    words = "as tokens_per_day=5000, usd_per_month=none (no limit) or mixtral-8x7b:tokens_per_day=1000 (of one model)"
    parser.add_argument("values", nargs="+", type=assignment, metavar="LIMIT=VALUE", help=words)


def _set(accounts: Accounts, arguments: argparse.Namespace) -> dict[str, Any]:
    values = arguments.values
    return accounts.merge(
        _path(accounts, arguments), lambda seen: {"overrides": with_limits(seen["overrides"], values)}
    )


def _takes_places(parser: argparse.ArgumentParser) -> None:
    taken.add_user(parser)
    words = "the limits for which the tier counts again, as tokens_per_day or mixtral-8x7b:tokens_per_day (all of them)"
    parser.add_argument("places", nargs="*", type=place, metavar="LIMIT", help=words)


def _clear(accounts: Accounts, arguments: argparse.Namespace) -> dict[str, Any]:
    places = arguments.places

    def cleared(seen: Row) -> dict[str, Any]:
        return {"overrides": without(seen["overrides"], places) if places else {}}

    return accounts.merge(_path(accounts, arguments), cleared)


def _takes_top_up(parser: argparse.ArgumentParser) -> None:
    taken.add_user(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--tokens", type=taken.count, metavar="N", help="so many tokens on top of the quotas")
    what.add_argument("--usd", type=taken.amount, metavar="X", help="so many US dollars on top of the quotas")
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why; it stands in the audit trail")
    taken.add_expiry(parser, "what is left of it")


def _top_up(accounts: Accounts, arguments: argparse.Namespace) -> dict[str, Any]:
    body = {**taken.given(arguments, "tokens", "usd", "reason"), **taken.expiry(accounts, arguments)}
    return accounts.create(_path(accounts, arguments, "top-ups"), body)


def _takes_list(parser: argparse.ArgumentParser) -> None:
    taken.add_user(parser)
    taken.add_page(parser)


def _top_ups(accounts: Accounts, arguments: argparse.Namespace) -> dict[str, Any]:
    return accounts.rows(_path(accounts, arguments, "top-ups"), {}, most=taken.most(arguments))


def _takes_one(parser: argparse.ArgumentParser) -> None:
    taken.add_user(parser)
    parser.add_argument("top_up", metavar="ID", help="the top-up's id, as top-ups shows it")


def _remove(accounts: Accounts, arguments: argparse.Namespace) -> dict[str, Any]:
    accounts.delete(_path(accounts, arguments, "top-ups", arguments.top_up))
    return {"deleted": arguments.top_up}


def _path(accounts: Accounts, arguments: argparse.Namespace, *behind: str) -> str:
    return path_of("users", accounts.user_id(arguments.user), "quota", *behind)


def _show(quota: Row) -> None:
    show_thing({name: quota[name] for name in ("user_id", "organisation_id", "tier", "time_zone")})
    print()
    show_rows(_LIMITS, [_limit(row) for row in quota["limits"]])
    if quota["top_ups"]:
        print()
        show_rows(_TOP_UPS, quota["top_ups"])
    if quota["degraded"]:
        print("Redis does not say what is left.", file=sys.stderr)


def _limit(row: Row) -> dict[str, Any]:
    return {**row, "most": limit(row["limit"]), "left": row["remaining"], "reset": duration(row["reset_s"])}


_ACTIONS: Final = (
    asked("get", "show limits, what is left of them, and top-ups", takes=taken.add_user, do=_get, show=_show),
    asked("set", "set limits of one user in the place of the tier's", takes=_takes_values, do=_set, show=_show),
    asked("clear", "let the tier's limits count again", takes=_takes_places, do=_clear, show=_show),
    asked("top-up", "give tokens or dollars on top", takes=_takes_top_up, do=_top_up, show=show_thing),
    asked("top-ups", "list what was given on top", takes=_takes_list, do=_top_ups, show=table_of(_TOP_UPS)),
    asked("remove-top-up", "take back what was given on top", takes=_takes_one, do=_remove, show=show_ended),
)
