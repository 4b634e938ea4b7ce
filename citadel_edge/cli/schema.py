"""`schema export`: the graph's contract, as this version serves it, on standard output or in a file.

Decides that a file is replaced whole or not at all: whoever reads it meanwhile has the old one.
"""

import argparse
import sys
from pathlib import Path

from citadel_edge.errors import StartError
from citadel_edge.listeners.graphql.schema import load_schema, read_schema


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`export [FILE]`."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    export = actions.add_parser("export", help="write schema.graphql", description="Write schema.graphql.")
    export.add_argument("file", nargs="?", type=Path, metavar="FILE", help="where to; standard output without it")


def run(arguments: argparse.Namespace) -> int:
    """Write it, once it is known to be whole. Raises StartError when the file cannot be written."""
    text = read_schema()
    load_schema(text)
    if arguments.file is None:
        sys.stdout.write(text)
        return 0
    part = arguments.file.with_name(f".{arguments.file.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(arguments.file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StartError(f"{arguments.file} cannot be written: {error.strerror}") from error
    return 0
