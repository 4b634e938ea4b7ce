"""`listener start|stop|status|attach NAME`: one listener of the running process, over its control socket."""

import argparse
import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

from citadel_edge.cli.console import show_table
from citadel_edge.cli.options import add_process, data_dir
from citadel_edge.cli.process_cells import LISTENER_HEAD, listener_row
from citadel_edge.config.shape import ListenerName
from citadel_edge.control.client import attach, request
from citadel_edge.control.protocol import FILE_NAME, Command

_COMMANDS = {"start": Command.START, "stop": Command.STOP, "status": Command.LISTENER_STATUS}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `listener`."""
    parser.add_argument("action", choices=[*_COMMANDS, "attach"], help="attach prints its log lines as they come")
    parser.add_argument("name", choices=[name.value for name in ListenerName])
    add_process(parser)


def run(arguments: argparse.Namespace) -> int:
    """Do it and print what became of the listener. 1 when `status` finds it not running.

    Raises:
        ControlError: there is no such process, or it refused.
    """
    path, name = data_dir(arguments) / FILE_NAME, ListenerName(arguments.name)
    if arguments.action == "attach":
        asyncio.run(_follow(path, name))
        return 0
    answer: dict[str, Any] = asyncio.run(request(path, _COMMANDS[arguments.action], name=name))
    show_table(LISTENER_HEAD, [listener_row(answer)])
    return 1 if arguments.action == "status" and answer["state"] != "running" else 0


async def _follow(path: Path, name: ListenerName) -> None:
    """Print lines until the process ends; each at once, for a journal behind a pipe."""
    async with aclosing(attach(path, name)) as lines:
        async for line in lines:
            print(line, flush=True)
