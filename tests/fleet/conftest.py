"""A tiny engine to probe, and a client to do it with."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from citadel_edge.fleet.client import UpstreamClient
from fleet.rig import Prober


@pytest.fixture
async def engine() -> AsyncIterator[Prober]:
    prober = Prober()
    app = web.Application()
    app.router.add_get("/{path:.*}", prober.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    prober.url = "http://{}:{}".format(*runner.addresses[0][:2])
    yield prober
    await runner.cleanup()


@pytest.fixture
async def client() -> AsyncIterator[UpstreamClient]:
    async with UpstreamClient.running() as running:
        yield running
