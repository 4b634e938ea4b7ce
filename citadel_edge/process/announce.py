"""Shows the panel once the first answer is possible: accounts made, a replica ready.

Decides which keys are shown. In development the two first keys stand in `credentials.json`; in production none is ever
printed.
"""

import asyncio
from pathlib import Path
from typing import TextIO

import msgspec

import citadel_edge
from citadel_edge.accounts.bootstrap import Credentials
from citadel_edge.edge import Edge
from citadel_edge.health.verdict import Condition
from citadel_edge.process.doors import Doors
from citadel_edge.process.panel import Panel, render
from citadel_edge.process.workers import upstreams_check
from citadel_edge.telemetry.hub import Topic

FILE_NAME = "credentials.json"
WAIT_FOR_MODEL_S = 60.0


async def announce(edge: Edge, doors: Doors, made: Credentials | None, *, out: TextIO, data_dir: Path) -> None:
    """Write the keys of a first start down, wait for a replica, show the panel."""
    path = data_dir / FILE_NAME
    production = edge.config.value.environment == "production"
    if made is not None and not production:
        await _keep(edge, made, path)
    kept = None if production else await asyncio.to_thread(_read, path)
    shown = kept if production else kept or made
    models = edge.config.value.models
    ready = await _replica_ready(edge) if models else False
    panel = Panel(
        version=citadel_edge.__version__,
        environment=edge.config.value.environment,
        urls={name: door.url for name, door in doors.items()},
        model=models[0].name if models else None,
        admin_key=made.admin_key if made is not None and not production else None,
        demo_key=shown.demo_key if shown is not None else None,
        credentials=str(path) if kept is not None else None,
        notes=() if ready or not models else ("no replica is ready yet; see GET /health of routing-api",),
    )
    print(render(panel), file=out, flush=True)


async def _keep(edge: Edge, made: Credentials, path: Path) -> None:
    """The keys are made by now: a disk that refuses the file must not cost the only sight of them."""
    try:
        await asyncio.to_thread(made.write, path)
    except OSError as error:
        edge.logs.logger().error("credentials_not_kept", path=str(path), reason=error.strerror or str(error))


async def _replica_ready(edge: Edge) -> bool:
    try:
        async with asyncio.timeout(WAIT_FOR_MODEL_S):
            with edge.hub.subscribe([Topic.HEALTH]) as news:
                while upstreams_check(edge).condition is Condition.DOWN:
                    await anext(news)
    except (TimeoutError, StopAsyncIteration):
        return False
    return True


def _read(path: Path) -> Credentials | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Credentials)
    except (OSError, msgspec.DecodeError):
        return None
