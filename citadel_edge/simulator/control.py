"""The control routes: what shall go wrong, what the gauges shall say, and what happened.

::

    GET    /control/faults          those in force, with how often each was seen and struck
    POST   /control/faults          one fault or a list of them -> 201 {"ids": […]}
    DELETE /control/faults[/{id}]   all, or one; who waits in it goes on
    GET    /control/stats[?id=]     totals, load, and the latest requests, or those with this X-Request-Id
    GET    /control/gauges          the wrong gauges
    PUT    /control/gauges          {"running", "waiting", "kv_usage"}: say this from now on; {}: what they say now
    DELETE /control/gauges          tell the truth again
    DELETE /control/cache           forget the prefix cache
    GET    /control/state           {"alive", "frozen", "slowness"}
    PUT    /control/state           kill it, start it again, freeze it, thaw it, slow it down; what is absent stays

They are never struck by a fault themselves, and need no key.
"""

from typing import Any, Protocol

import msgspec
from aiohttp import web

from citadel_edge.simulator.conduct import State
from citadel_edge.simulator.faults import Fault
from citadel_edge.simulator.serving import Serving

PREFIX = "/control/"
OWN_PORT = "a control port of its own"


class Gauges(msgspec.Struct, forbid_unknown_fields=True):
    """Wrong values; what is not given stays true."""

    running: int | None = None
    waiting: int | None = None
    kv_usage: float | None = None

    def wrong(self) -> dict[str, float]:
        """Those that are given."""
        return {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}


class Controlled(Protocol):
    """The server, as it is seen from here."""

    serving: Serving

    @property
    def state(self) -> State:
        """How it is."""

    async def become(self, state: State) -> None:
        """Be so."""

    async def put(self, fault: Fault) -> int:
        """Put a fault in force; its id."""


class Control:
    """The handlers."""

    def __init__(self, server: Controlled, *, own_port: bool) -> None:
        self._server = server
        self._serving = server.serving
        self._own_port = own_port

    def add_routes(self, app: web.Application) -> None:
        """Mount them."""
        app.router.add_get("/control/faults", self.list_faults)
        app.router.add_post("/control/faults", self.add_faults)
        app.router.add_delete("/control/faults", self.clear_faults)
        app.router.add_delete(r"/control/faults/{id:\d+}", self.remove_fault)
        app.router.add_get("/control/stats", self.show_stats)
        app.router.add_get("/control/gauges", self.show_gauges)
        app.router.add_put("/control/gauges", self.set_gauges)
        app.router.add_delete("/control/gauges", self.clear_gauges)
        app.router.add_delete("/control/cache", self.clear_cache)
        app.router.add_get("/control/state", self.show_state)
        app.router.add_put("/control/state", self.set_state)

    async def list_faults(self, _: web.Request) -> web.Response:
        """GET faults."""
        return _json({"faults": self._serving.faults.entries()})

    async def add_faults(self, request: web.Request) -> web.Response:
        """POST faults."""
        try:
            faults = msgspec.json.decode(await request.read(), type=Fault | list[Fault])
        except msgspec.MsgspecError as error:
            return _json({"error": str(error)}, status=400)
        faults = faults if isinstance(faults, list) else [faults]
        if any(fault.at_once and fault.duration_s is None for fault in faults) and not self._own_port:
            return _json({"error": f"unreachable for ever needs {OWN_PORT}, or duration_s"}, status=400)
        return _json({"ids": [await self._server.put(fault) for fault in faults]}, status=201)

    async def clear_faults(self, _: web.Request) -> web.Response:
        """DELETE faults."""
        self._serving.faults.clear()
        return web.Response(status=204)

    async def remove_fault(self, request: web.Request) -> web.Response:
        """DELETE faults/{id}."""
        found = self._serving.faults.remove(int(request.match_info["id"]))
        return web.Response(status=204) if found else _json({"error": "no fault of that id"}, status=404)

    async def show_stats(self, request: web.Request) -> web.Response:
        """GET stats."""
        serving, wanted = self._serving, request.query.get("id")
        stats = serving.stats
        records = list(stats.records) if wanted is None else stats.find(wanted)
        return _json(
            {
                "engine": serving.options.engine,
                "model": serving.options.model,
                "now": serving.clock(),
                "totals": stats.totals(),
                "load": serving.snapshot(),
                "requests": [record.shown() for record in records],
            }
        )

    async def show_gauges(self, _: web.Request) -> web.Response:
        """GET gauges."""
        return _json(self._serving.wrong_gauges)

    async def set_gauges(self, request: web.Request) -> web.Response:
        """PUT gauges."""
        try:
            wrong = msgspec.json.decode(await request.read(), type=Gauges).wrong()
        except msgspec.MsgspecError as error:
            return _json({"error": str(error)}, status=400)
        self._serving.stick_gauges(**wrong)
        return _json(self._serving.wrong_gauges)

    async def clear_gauges(self, _: web.Request) -> web.Response:
        """DELETE gauges."""
        self._serving.wrong_gauges.clear()
        return web.Response(status=204)

    async def clear_cache(self, _: web.Request) -> web.Response:
        """DELETE cache."""
        self._serving.cache.clear()
        return web.Response(status=204)

    async def show_state(self, _: web.Request) -> web.Response:
        """GET state."""
        return _json(self._server.state)

    async def set_state(self, request: web.Request) -> web.Response:
        """PUT state."""
        try:
            wanted = msgspec.json.decode(await request.read(), type=State)
        except msgspec.MsgspecError as error:
            return _json({"error": str(error)}, status=400)
        if wanted.alive is False and not self._own_port:
            return _json({"error": f"who is killed needs {OWN_PORT} to come back"}, status=400)
        await self._server.become(wanted)
        return _json(self._server.state)


def _json(value: Any, *, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")
