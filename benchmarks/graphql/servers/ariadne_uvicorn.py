"""Ariadne's ASGI application under uvicorn with uvloop and httptools. `… cached` or `… plain`; prints its address."""

import socket
import sys

import uvicorn
from ariadne.asgi import GraphQL

from benchmarks.graphql.ariadne_engine import Caches, bound_schema


def main(*, cached: bool) -> None:
    app = GraphQL(bound_schema(), **(Caches().options() if cached else {}))
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{bound.getsockname()[1]}/graphql", flush=True)
    options = uvicorn.Config(app, loop="uvloop", http="httptools", log_level="warning", access_log=False)
    uvicorn.Server(options).run(sockets=[bound])


if __name__ == "__main__":
    main(cached=sys.argv[1] == "cached")
