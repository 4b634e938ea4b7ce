"""`citadel-edge`: which commands there are, and what becomes of their errors.

Decides the exit codes. Each command is a module with `add_arguments(parser)` and `run(arguments) -> int`; only the one
that is called is imported, so that `--version` and a mistyped command answer at once. Refuses to know what they do.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from citadel_edge import __version__
from citadel_edge.errors import CitadelError, ConfigError

OK, FAILED, USAGE = 0, 1, 2
INTERRUPTED, BROKEN_PIPE = 130, 141  # as a shell reports a death by SIGINT or SIGPIPE


@dataclass(frozen=True, slots=True)
class Command:
    """A command, the module that does it, and what it is for."""

    name: str
    module: str
    summary: str


COMMANDS = (
    Command("serve", "citadel_edge.cli.serve", "start the four services"),
    Command("check", "citadel_edge.cli.check", "validate the configuration and look at every dependency"),
    Command("status", "citadel_edge.cli.status", "ask the running process how it is"),
    Command(
        "listener", "citadel_edge.cli.listener", "start, stop, look at or follow one listener of the running process"
    ),
    Command("route", "citadel_edge.cli.route", "explain where a request would go, without sending it"),
    Command("users", "citadel_edge.cli.accounts.users", "list, make, change, suspend users and see what they used"),
    Command(
        "keys", "citadel_edge.cli.accounts.keys", "make the first API key; list, make, rotate and revoke users' keys"
    ),
    Command("tiers", "citadel_edge.cli.accounts.tiers", "list, make and change the tiers that users' limits come from"),
    Command("quota", "citadel_edge.cli.accounts.quota", "see how much a user may still use, and change it"),
    Command("organisations", "citadel_edge.cli.accounts.organisations", "list, make and change organisations"),
    Command("audit", "citadel_edge.cli.accounts.audit", "see who changed what"),
    Command("schema", "citadel_edge.cli.schema", "export the GraphQL schema"),
    Command("simulate", "citadel_edge.simulator.command", "run a simulated model server"),
)


class _LazyParser(argparse.ArgumentParser):
    """A command's parser that learns its arguments when they are parsed."""

    command: Command | None = None

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Import the command first."""
        command, self.command = self.command, None
        if command is not None:
            module = import_module(command.module)
            module.add_arguments(self)
            self.set_defaults(run=module.run)
        return super().parse_known_args(args, namespace)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and answer its exit code. Never raises for what an operator can cause."""
    try:
        return _run(argv)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read has left. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except ConfigError as error:
        print(error, file=sys.stderr)
        return USAGE
    except CitadelError as error:
        print(f"citadel-edge: {error}", file=sys.stderr)
        return FAILED


def _run(argv: Sequence[str] | None) -> int:
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as stop:  # argparse has printed: help or version to standard output, else what is wrong
        return stop.code if isinstance(stop.code, int) else USAGE
    code: int = arguments.run(arguments)
    sys.stdout.flush()
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="citadel-edge", description="The edge in front of your model servers.")
    parser.add_argument("--version", action="version", version=f"citadel-edge {__version__}")
    commands = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True, parser_class=_LazyParser
    )
    for command in COMMANDS:
        lazy = commands.add_parser(command.name, help=command.summary, description=_sentence(command.summary))
        lazy.command = command
    return parser


def _sentence(summary: str) -> str:
    return f"{summary[0].upper()}{summary[1:]}."
