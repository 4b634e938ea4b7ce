"""Our own door with everything on, over the benchmark's schema: keys, budgets, costs, metrics, a log file, workers.

`python -m benchmarks.graphql.servers.ours CONFIG` prints its address and a key as JSON, and serves until it is told to
stop. But for the schema it is the process that `citadel-edge serve` runs, with the graph's door alone open.
"""

import asyncio
import gc
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.graphql.engines import bound_schema
from benchmarks.graphql.questions import SDL
from citadel_edge.config.load import Loaded, load
from citadel_edge.config.shape import ListenerName
from citadel_edge.edge import Edge, open_edge
from citadel_edge.embedded.parts import open_parts
from citadel_edge.health.verdict import ListenerState
from citadel_edge.listeners.common.app import build_app
from citadel_edge.listeners.common.changing import AccountsMetrics, Changing
from citadel_edge.listeners.common.door import Door, bind, open_door
from citadel_edge.listeners.graphql.context import Parts
from citadel_edge.listeners.graphql.opening import context_of, equip, graph_of, routes_of
from citadel_edge.process.launch import prepare_accounts
from citadel_edge.process.reload import with_parts
from citadel_edge.process.run import COLLECT_AFTER
from citadel_edge.process.workers import workers
from citadel_edge.telemetry.logs import Logs

GRAPH = ListenerName.GRAPHQL


async def serve(loaded: Loaded, logs: Logs) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    config, data_dir = loaded.config, loaded.config.data_dir.absolute()
    async with (
        open_parts(config, log=logs.logger(), progress=_quiet) as parts,
        open_edge(with_parts(config, parts), logs=logs, data_dir=data_dir) as edge,
        workers(edge, parts),
    ):
        made = await prepare_accounts(edge)
        assert made is not None
        async with door_of(edge) as door:
            gc.collect()
            gc.freeze()
            gc.set_threshold(*COLLECT_AFTER)
            print(json.dumps({"url": f"{door.url}/graphql", "key": made.demo_key}), flush=True)
            await stop.wait()


@asynccontextmanager
async def door_of(edge: Edge) -> AsyncIterator[Door]:
    """The graph's door, over the benchmark's schema."""
    config = edge.config.value
    graph = graph_of(edge, bound_schema(), measures={})
    app = build_app(GRAPH, edge, routes_of(config, SDL))
    changing = Changing(edge, GRAPH, AccountsMetrics(edge.registries.of(ListenerName.RATE_LIMITING)).of(GRAPH))
    equip(app, graph, context_of(Parts(edge=edge, changing=changing)), edge.registries.of(GRAPH))
    door = await open_door(
        GRAPH,
        app,
        bound=bind(GRAPH, "127.0.0.1", 0),
        listener=config.listeners[GRAPH],
        http=lambda: edge.config.value.http,
        clock=edge.clock,
    )
    assert edge.board.states[GRAPH] is ListenerState.RUNNING
    try:
        yield door
    finally:
        await door.close()
        graph.close()


def _quiet(_: str) -> None:
    """How parts come up is nobody's concern here."""


def main(path: Path) -> None:
    loaded = load(path, environ={})
    with Logs.open(loaded.config.logs) as logs:
        asyncio.run(serve(loaded, logs))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
