"""Strawberry behind aiohttp, as its documentation has it. `… cached` or `… plain`; prints its address and serves."""

import socket
import sys

from aiohttp import web
from strawberry.aiohttp.views import GraphQLView

from benchmarks.graphql.strawberry_engine import schema


def main(*, cached: bool) -> None:
    app = web.Application()
    app.router.add_route("*", "/graphql", GraphQLView(schema=schema(cached=cached)))
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{bound.getsockname()[1]}/graphql", flush=True)
    web.run_app(app, sock=bound, print=None, access_log=None)


if __name__ == "__main__":
    main(cached=sys.argv[1] == "cached")
