"""The least that a door on aiohttp does: a JSON body read, a JSON body answered. The measure for ours.

`python -m benchmarks.limits.bare_door LENGTH` answers every POST with so many bytes; it prints its port and
serves until it is told to stop.
"""

import asyncio
import json
import signal
import sys

from aiohttp import web

ANSWER = web.AppKey("answer", bytes)


async def answer(request: web.Request) -> web.Response:
    await request.json()
    return web.Response(body=request.app[ANSWER], content_type="application/json")


async def serve(length: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    app = web.Application()
    app[ANSWER] = json.dumps({"allowed": True, "padding": "x" * max(0, length - 32)}).encode()
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await stop.wait()
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
