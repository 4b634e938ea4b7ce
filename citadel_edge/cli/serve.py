"""`serve`: load the configuration, then be the process until a signal."""

import argparse
from functools import partial

from citadel_edge.cli.options import add_config, loaded
from citadel_edge.process.serve import serve


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `serve`."""
    add_config(parser)


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT. A reload reads files and `.env` anew, with the same flags.

    Raises:
        ConfigError: the configuration is wrong; nothing was started.
        StartError: a part could not be started; everything that was is stopped again.
    """
    return serve(loaded(arguments), reload=partial(loaded, arguments))
