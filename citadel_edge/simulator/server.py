"""A simulated model server on a port: routes, keys, faults that strike the whole server, start and end.

Decides which route does what; how a request is answered is `serving`'s. Tests use `running`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web

from citadel_edge.simulator.asks import Kind, Refusal
from citadel_edge.simulator.background import Background, background
from citadel_edge.simulator.conduct import State
from citadel_edge.simulator.control import PREFIX, Control
from citadel_edge.simulator.dialects.choose import dialect_of
from citadel_edge.simulator.door import Door
from citadel_edge.simulator.faults import Entry, Facts, Fault, FaultBook, FaultKind
from citadel_edge.simulator.options import SimulatorOptions
from citadel_edge.simulator.records import Stats
from citadel_edge.simulator.serving import Serving, page_response
from citadel_edge.simulator.strikes import Strikes, hold
from citadel_edge.simulator.wounds import Broken

INFERENCE = {
    "/v1/chat/completions": Kind.CHAT,
    "/v1/completions": Kind.COMPLETION,
    "/v1/embeddings": Kind.EMBEDDINGS,
}
MAX_BODY_BYTES = 64 * 2**20
LOOK_AGAIN_S = 0.005

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Simulator:
    """A simulated server; make it with `running`.

    Attributes:
        options: what it was started with.
        url: `http://host:port`, the base of the engine's routes.
        control_url: the base of the control routes.
    """

    def __init__(self, options: SimulatorOptions, tasks: Background, faults: FaultBook) -> None:
        self.options = options
        self.url = ""
        self.control_url = ""
        self._tasks = tasks
        self._outages: dict[int, asyncio.Task[None]] = {}
        self._killed: int | None = None
        self._loop = asyncio.get_running_loop()
        self._dialect = dialect_of(options)
        self._strikes = Strikes(self._dialect, self._fall)
        self.serving = Serving(
            options=options,
            dialect=self._dialect,
            clock=self._loop.time,
            faults=faults,
            strikes=self._strikes,
            tasks=tasks,
        )
        self._control = Control(self, own_port=options.control_port is not None)
        self._runner = web.AppRunner(
            self._app(), handler_cancellation=True, access_log=None, shutdown_timeout=0.01, keepalive_timeout=75.0
        )
        self._door: Door | None = None

    @property
    def stats(self) -> Stats:
        """What happened."""
        return self.serving.stats

    @property
    def state(self) -> State:
        """Whether it is killed, frozen, slow."""
        conduct = self.serving.conduct
        return State(alive=self._killed is None, frozen=conduct.frozen, slowness=conduct.slowness)

    async def become(self, state: State) -> None:
        """Be so from now on; the calls below say the same in words."""
        if state.slowness is not None:
            self.slow(state.slowness)
        if state.alive is not None:
            await (self.restart() if state.alive else self.kill())
        if state.frozen is not None:
            (self.freeze if state.frozen else self.thaw)()

    async def kill(self) -> None:
        """Die: nothing listens, open connections are reset."""
        if self._killed is None:
            self._killed = -1  # before the await, so that it dies once
            self._killed = await self.put(Fault(kind=FaultKind.UNREACHABLE))

    async def restart(self) -> None:
        """Start again on the same port, with an empty prefix cache; a slow machine stays slow."""
        if self._killed is not None:
            self.serving.cache.clear()
            self.thaw()
            fault_id, self._killed = self._killed, None
            await self.lift(fault_id)

    def freeze(self) -> None:
        """Accept connections and answer nothing, probes included; running answers stop in mid-token."""
        self.serving.conduct.freeze()

    def thaw(self) -> None:
        """Go on where it stopped."""
        self.serving.conduct.thaw()

    def slow(self, times: float) -> None:
        """Take `times` as long as the options say."""
        self.serving.conduct.slow(times)

    async def put(self, fault: Fault) -> int:
        """Put a fault in force; the id with which `lift` ends it."""
        entry = self.serving.faults.add(fault)
        if fault.at_once:
            await self._shut()
            self._fall(entry)
        return entry.id

    async def fault(self, kind: str, **fields: Any) -> int:
        """`put` by the names of the control route.

        Raises:
            ValueError: an unknown kind or field.
        """
        try:
            return await self.put(msgspec.convert({"kind": kind, **fields}, Fault))
        except msgspec.MsgspecError as error:
            raise ValueError(str(error)) from error

    async def lift(self, fault_id: int | None = None) -> None:
        """End one fault, or all of them; afterwards the port is open again."""
        if fault_id is None:
            self.serving.faults.clear()
        else:
            self.serving.faults.remove(fault_id)
        ending = [task for owner, task in self._outages.items() if fault_id in (None, owner)]
        if ending:
            await asyncio.wait(ending)

    async def until(self, condition: Callable[[Stats], bool], *, timeout_s: float = 10.0) -> None:
        """Wait until the statistics are so.

        Raises:
            TimeoutError: they were not so in time.
        """
        async with asyncio.timeout(timeout_s):
            while not condition(self.stats):  # noqa: ASYNC110 - the condition is the caller's, nothing announces it
                await asyncio.sleep(LOOK_AGAIN_S)

    async def start(self) -> None:
        """Bind and listen."""
        options = self.options
        await self._runner.setup()
        self._door = Door(self._runner, options.host, options.port)
        await self._door.open()
        self.url = self.control_url = self._door.url
        for fault in options.faults:
            await self.put(fault)

    async def start_control(self, stack: AsyncExitStack) -> None:
        """Bind the control port, if there shall be one."""
        if self.options.control_port is None:
            return
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        self._control.add_routes(app)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
        await runner.setup()
        door = Door(runner, self.options.host, self.options.control_port)
        stack.callback(door.close)
        stack.push_async_callback(runner.cleanup)
        await door.open()
        self.control_url = door.url

    async def stop(self) -> None:
        """Reset what is open, give the ports back."""
        door, self._door = self._door, None
        self.serving.faults.clear()
        if door is not None:
            door.drop_connections()
        await self._runner.cleanup()
        if door is not None:
            door.close()

    # -- the whole server fails ------------------------------------------------------------------

    def _fall(self, entry: Entry) -> None:
        """Be unreachable from the next turn of the loop on, as long as the entry says."""
        self._outages[entry.id] = self._tasks.spawn(self._outage(entry))

    async def _outage(self, entry: Entry) -> None:
        try:
            await self._shut()
            await hold(entry)
        finally:
            self._outages.pop(entry.id, None)
        if entry.fault.at_once:
            self.serving.faults.remove(entry.id)
        if self._door is not None and not self._outages:
            await self._door.open()

    async def _shut(self) -> None:
        if self._door is not None:
            await self._door.shut()

    # -- routes ----------------------------------------------------------------------------------

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[self._guard])
        for path, kind in INFERENCE.items():
            app.router.add_post(path, self._inference(kind))
        for path in self._dialect.pages():
            app.router.add_get(path, self._page)
        self._control.add_routes(app)
        app.router.add_route("*", "/{path:.*}", self._nothing)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Key, and faults on everything that is no inference; control is exempt from both."""
        if request.path.startswith(PREFIX):
            return await handler(request)
        await self.serving.conduct.moving()
        options = self.options
        if options.api_key is not None and request.path not in self._dialect.open_paths:
            given = request.headers.get("Authorization")
            if given != f"Bearer {options.api_key}":
                return page_response(self._dialect.unauthorized(), self._dialect.headers)
        if request.path not in INFERENCE:
            struck = await self._struck(request)
            if struck is not None:
                return struck
        return await handler(request)

    async def _struck(self, request: web.Request) -> web.StreamResponse | None:
        facts = Facts(path=request.path, inference=False, headers=request.headers)
        entry = self.serving.faults.take(facts)
        if entry is None:
            return None
        try:
            return await self._strikes.before(entry, request)
        except Broken:
            answer: web.StreamResponse = await self._loop.create_future()  # until the connection is seen gone
            return answer

    def _inference(self, kind: Kind) -> Handler:
        async def handler(request: web.Request) -> web.StreamResponse:
            return await self.serving.infer(request, kind)

        return handler

    async def _page(self, request: web.Request) -> web.StreamResponse:
        page = self._dialect.pages()[request.path](self.serving.snapshot())
        return page_response(page, self._dialect.headers)

    async def _nothing(self, _: web.Request) -> web.StreamResponse:
        return page_response(self._dialect.error(Refusal(404, "Not Found")), self._dialect.headers)


@asynccontextmanager
async def running(options: SimulatorOptions, *, faults: FaultBook | None = None) -> AsyncIterator[Simulator]:
    """A simulated server that listens while the context lasts.

    Args:
        options: what it is like.
        faults: a book that several servers share, so that `times` counts for all of them; None: one of its own.
    """
    async with background() as tasks, AsyncExitStack() as stack:
        simulator = Simulator(options, tasks, FaultBook(seed=options.seed) if faults is None else faults)
        stack.push_async_callback(simulator.stop)
        await simulator.start()
        await simulator.start_control(stack)
        yield simulator
