"""`check`: validate the configuration, then look at every dependency, all at once, and print a table."""

import argparse
import asyncio
import io
import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from structlog.typing import FilteringBoundLogger

from citadel_edge.cli import local_looks, remote_looks, running_looks
from citadel_edge.cli.console import show_table
from citadel_edge.cli.findings import HEAD, Finding, State, conclusion
from citadel_edge.cli.options import add_config, loaded
from citadel_edge.config.load import Loaded
from citadel_edge.config.shape import Config, LogsConfig
from citadel_edge.config.urls import EMBEDDED
from citadel_edge.errors import CitadelError
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.logs import Logs

DEADLINE_S = 10.0
Look = Callable[[], Awaitable[Finding]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `check`."""
    add_config(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the table and the warnings. 0 when all that is required is well, else 1.

    Raises:
        ConfigError: the configuration is wrong; nothing was looked at.
    """
    found = loaded(arguments)
    findings = asyncio.run(look(found, Clock()))
    show_table(HEAD, [finding.cells for finding in findings])
    for warning in found.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"\n{conclusion(findings)}")
    return 1 if any(finding.fails for finding in findings) else 0


async def look(found: Loaded, clock: Clock) -> list[Finding]:
    """Look at everything concurrently, each within `DEADLINE_S` seconds. The order is the table's."""
    with Logs.open(LogsConfig(level="error"), stream=io.StringIO()) as logs:
        async with asyncio.TaskGroup() as group:
            looks = _looks(found, clock, logs.logger())
            tasks = [group.create_task(_bounded(name, look)) for name, look in looks.items()]
        return [task.result() for task in tasks]


def _looks(found: Loaded, clock: Clock, log: FilteringBoundLogger) -> Mapping[str, Look]:
    config = found.config
    here: dict[str, Callable[[], Finding]] = {
        "configuration": partial(local_looks.look_at_configuration, found),
        "data_dir": partial(local_looks.look_at_data_dir, config.data_dir),
    }
    away: dict[str, Look] = {
        "redis": partial(remote_looks.look_at_redis, config.redis, clock=clock, log=log),
        "postgres": partial(remote_looks.look_at_postgres, config.postgres, clock=clock, log=log),
        **{
            f"upstream {upstream.id}": partial(remote_looks.look_at_upstream, upstream, clock=clock)
            for upstream in config.upstreams
        },
        "metrics server": partial(remote_looks.look_at_metrics_server, config.metrics_server.url, clock=clock),
        "api gateway": partial(remote_looks.look_at_gateway, config.api_gateway.url, clock=clock),
    }
    threads: dict[str, Look] = {name: partial(asyncio.to_thread, look) for name, look in here.items()}
    first = {**threads, **_embedded_looks(config)}
    return first | {name: look for name, look in away.items() if name not in first}


def _embedded_looks(config: Config) -> dict[str, Look]:
    """What is embedded is looked at on this machine, and in the edge that runs it, if one does."""
    looks = {
        "redis": (config.redis.url == EMBEDDED, local_looks.look_at_embedded_redis, "redis"),
        "postgres": (config.postgres.dsn == EMBEDDED, local_looks.look_at_embedded_postgres, "postgres"),
        "embedded model": (not config.upstreams, local_looks.look_at_embedded_model, "upstreams"),
    }
    return {
        name: partial(running_looks.look_at_embedded, installed, check=check, data_dir=config.data_dir)
        for name, (is_embedded, installed, check) in looks.items()
        if is_embedded
    }


async def _bounded(name: str, look: Look) -> Finding:
    try:
        async with asyncio.timeout(DEADLINE_S):
            return await look()
    except TimeoutError:
        return Finding(name, State.DOWN, f"no answer within {DEADLINE_S:g} s")
    except CitadelError as error:
        return Finding(name, State.DOWN, str(error))
