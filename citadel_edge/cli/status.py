"""`status`: what the running process says of itself, over its control socket."""

import argparse
import asyncio
import json
from collections.abc import Mapping
from typing import Any

from citadel_edge.cli.console import show_table
from citadel_edge.cli.options import add_process, data_dir
from citadel_edge.cli.process_cells import CHECK_HEAD, LISTENER_HEAD, check_row, listener_row
from citadel_edge.control.client import request
from citadel_edge.control.protocol import FILE_NAME, Command

_HEALTHY = ("healthy", "degraded")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `status`."""
    add_process(parser)
    parser.add_argument("--json", action="store_true", help="the process's own answer, for programs")


def run(arguments: argparse.Namespace) -> int:
    """Print it. 0 when every listener takes work, else 1.

    Raises:
        ControlError: there is no such process, or it refused.
    """
    answer = asyncio.run(request(data_dir(arguments) / FILE_NAME, Command.STATUS))
    if arguments.json:
        print(json.dumps(answer, indent=2))
    else:
        _show(answer)
    return 0 if all(listener["status"] in _HEALTHY for listener in answer["listeners"]) else 1


def _show(answer: Mapping[str, Any]) -> None:
    print(f"Citadel Edge {answer['version']}, up for {answer['uptime_s']:.0f} s\n")
    show_table(LISTENER_HEAD, [listener_row(listener) for listener in answer["listeners"]])
    print()
    show_table(CHECK_HEAD, [check_row(name, check) for name, check in answer["checks"].items()])
