"""An edge reduced to its embedded parts, for tests to kill: says READY with the addresses, waits for end of input."""

import asyncio
import json
import sys
from pathlib import Path

import structlog

from citadel_edge.config.shape import Config, DeploymentConfig, ModelConfig, UpstreamConfig
from citadel_edge.embedded.identity import As
from citadel_edge.embedded.parts import open_parts
from citadel_edge.errors import StartError

ELSEWHERE = UpstreamConfig(id="elsewhere", url="http://127.0.0.1:9")
THEIRS = ModelConfig(name="theirs", deployments=(DeploymentConfig(upstream="elsewhere"),))


def databases_only(data_dir: Path) -> Config:
    """A configuration whose databases are embedded and whose fleet is its own."""
    return Config(data_dir=data_dir, upstreams=(ELSEWHERE,), models=(THEIRS,))


async def main(data_dir: Path, postgres_as: As | None) -> None:
    log = structlog.wrap_logger(structlog.PrintLogger(sys.stderr))
    async with open_parts(
        databases_only(data_dir), log=log, progress=lambda line: say("PROGRESS", line), postgres_as=postgres_as
    ) as parts:
        await parts.ready(60)
        say("READY", json.dumps({"redis": parts.redis_url, "postgres": parts.postgres_dsn}))
        await end_of_input()


async def end_of_input() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


def say(word: str, rest: str) -> None:
    sys.stdout.write(f"{word} {rest}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        asyncio.run(main(Path(sys.argv[1]), As(sys.argv[2]) if len(sys.argv) > 2 else None))
    except StartError as error:
        say("REFUSED", str(error))
