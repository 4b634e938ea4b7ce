"""Arguments that commands share, and the configuration they mean."""

import argparse
import os
from pathlib import Path

from citadel_edge.config.load import Loaded, find_data_dir, load

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
