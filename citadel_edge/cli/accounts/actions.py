"""The actions of a command, as `list` of `citadel-edge users`, and what all that are asked over HTTP share.

Decides how an action is named and helped with, where it is asked, and whether a program or a person reads the answer.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from citadel_edge.cli.accounts.api import Accounts
from citadel_edge.cli.asking import door_of, key_of
from citadel_edge.cli.options import add_asking, loaded
from citadel_edge.config.shape import ListenerName
from citadel_edge.telemetry.clock import Clock

Arguments = Callable[[argparse.ArgumentParser], None]
Do = Callable[[Accounts, argparse.Namespace], Any]
Show = Callable[[Any], None]


@dataclass(frozen=True, slots=True)
class Action:
    """A word after the command, what it is for, what it takes and what it does."""

    name: str
    summary: str
    add_arguments: Arguments
    run: Callable[[argparse.Namespace], int]


def asked(name: str, summary: str, *, takes: Arguments, do: Do, show: Show) -> Action:
    """An action over HTTP: `do` answers what the process said, `show` prints it for people."""

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        takes(parser)
        add_asking(parser, ListenerName.RATE_LIMITING.value)

    def run(arguments: argparse.Namespace) -> int:
        print_answer(do(accounts_of(arguments), arguments), show, arguments)
        return 0

    return Action(name, summary, add_arguments, run)


def print_answer(answer: Any, show: Show, arguments: argparse.Namespace) -> None:
    """For a program as it is, or for people."""
    if arguments.json:
        print(json.dumps(answer, indent=2))
    else:
        show(answer)


def add_actions(parser: argparse.ArgumentParser, actions: Sequence[Action]) -> None:
    """Let the command take one of the actions; the namespace's `act` then does it."""
    words = parser.add_subparsers(title="actions", dest="verb", metavar="ACTION", required=True)
    for action in actions:
        description = f"{action.summary[0].upper()}{action.summary[1:]}."
        word = words.add_parser(action.name, help=action.summary, description=description)
        action.add_arguments(word)
        word.set_defaults(act=action.run)


def act(arguments: argparse.Namespace) -> int:
    """Do the action that was named. Every `run` of the commands here.

    Raises:
        ConfigError: the configuration, or an argument, is wrong.
        StartError: there is no key, or the process does not answer.
        Refused: the process refuses.
    """
    code: int = arguments.act(arguments)
    return code


def accounts_of(arguments: argparse.Namespace) -> Accounts:
    """The API of the process that the arguments mean. Raises as `act` says."""
    config = loaded(arguments).config
    door = door_of(arguments.url, config, ListenerName.RATE_LIMITING)
    return Accounts(door, key_of(arguments.key, config), Clock())
