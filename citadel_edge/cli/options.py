"""Arguments that commands share, and the configuration they mean."""

import argparse
import os
import sys
from pathlib import Path

from citadel_edge.config.load import Loaded, find_data_dir, load
from citadel_edge.errors import ConfigError, Problem

DEFAULT_FILE = Path("config.yaml")


class _Settings(argparse.Action):
    """Gathers `path=value` into a mapping."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, option: str | None = None
    ) -> None:
        """Take one more."""
        path, equals, value = str(values).partition("=")
        if not equals or not path:
            parser.error(f"argument {option}: expected path=value, as in routing.retries=3, got {str(values)!r}")
        namespace.settings = {**namespace.settings, path: value}


def add_config(parser: argparse.ArgumentParser) -> None:
    """`--config` and `--set`."""
    parser.add_argument(
        "--config", type=Path, metavar="PATH", help="the configuration file (config.yaml, if it is here)"
    )
    parser.add_argument(
        "--set",
        dest="settings",
        action=_Settings,
        default={},
        metavar="PATH=VALUE",
        help="override one setting, as in routing.retries=3 or upstreams[gpu-a].slots=8; may be repeated",
    )


def add_process(parser: argparse.ArgumentParser) -> None:
    """Which running process is meant: by its configuration, or by its data directory."""
    add_config(parser)
    parser.add_argument("--data-dir", type=Path, metavar="PATH", help="its data directory, instead of a configuration")


def add_asking(parser: argparse.ArgumentParser, door: str) -> None:
    """Where the running process is asked, with which key, and for whom its answer is printed."""
    parser.add_argument("--url", help=f"{door}'s address, where the configuration does not say")
    parser.add_argument("--key", help="an API key (CITADEL_API_KEY, or the admin key of credentials.json)")
    parser.add_argument("--json", action="store_true", help="the process's own answer, for programs")
    add_config(parser)


def read_input(name: str, flag: str) -> bytes:
    """The content of the file that a flag names; `-` is standard input. Raises `ConfigError` when it can't be read."""
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise ConfigError([Problem(flag, f"{name}: {error.strerror}")]) from error


def loaded(arguments: argparse.Namespace) -> Loaded:
    """The configuration that the arguments mean, read now.

    Raises:
        ConfigError: it is wrong.
    """
    return load(_file(arguments), environ=os.environ, flags=arguments.settings)


def data_dir(arguments: argparse.Namespace) -> Path:
    """The data directory of the process that is meant.

    Raises:
        ConfigError: the configuration does not say.
    """
    if arguments.data_dir is not None:
        return Path(arguments.data_dir).absolute()
    return find_data_dir(_file(arguments), environ=os.environ, flags=arguments.settings)


def _file(arguments: argparse.Namespace) -> Path | None:
    if arguments.config is not None:
        return Path(arguments.config)
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None
