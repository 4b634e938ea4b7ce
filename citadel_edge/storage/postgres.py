"""The one PostgreSQL pool.

Decides how long a call may take, what a failure means, and who may hold a connection. Opens without a server, fails at
once while the server is known to be away, and comes back by itself. Refuses to know any statement of the product.

A caller that is cancelled or runs into its deadline never waits for the server again: its connection is taken back by
a task of the pool, which cancels the statement, rolls back, or drops the connection.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, Final

import asyncpg
from structlog.typing import FilteringBoundLogger

from citadel_edge.config.shape import PostgresConfig
from citadel_edge.config.targets import PostgresKind, PostgresTarget
from citadel_edge.config.urls import postgres_target
from citadel_edge.errors import PostgresUnavailable, StartError
from citadel_edge.groups import plain_group
from citadel_edge.storage.backoff import Backoff
from citadel_edge.storage.gate import Gate
from citadel_edge.storage.patience import patience
from citadel_edge.storage.postgres_faults import DRIVER_ERRORS, Fault, judge
from citadel_edge.storage.postgres_listener import PostgresListener
from citadel_edge.storage.postgres_tls import OPTIONS, Tls
from citadel_edge.storage.state import DependencyState, Status
from citadel_edge.telemetry.clock import Clock

PROBE_S: Final = 2.0
CONNECT_S: Final = 10.0
TAKE_BACK_S: Final = 1.0
FIRST_PAUSE_S: Final = 0.1
LAST_PAUSE_S: Final = 2.0


class PostgresPool:
    """Connections to one PostgreSQL. Make it with `open`.

    Every call raises `PostgresUnavailable` when the server is away or too slow (the outcome of a statement that was
    under way is then unknown), and asyncpg's own errors (`UniqueViolationError`, …) when the statement is at fault.
    """

    def __init__(
        self,
        pool: Any,
        gate: Gate,
        group: asyncio.TaskGroup,
        *,
        connect: Callable[[], Awaitable[Any]],
        deadline_s: float,
        clock: Clock,
    ) -> None:
        self._pool = pool
        self._gate = gate
        self._group = group
        self._connect = connect
        self._deadline_s = deadline_s
        self._clock = clock
        self._suspected = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, config: PostgresConfig, *, clock: Clock, log: FilteringBoundLogger
    ) -> AsyncIterator["PostgresPool"]:
        """A pool of `config.pool_size` connections, made when they are needed. Never fails because of the server."""
        target = postgres_target(config)
        if target.kind is PostgresKind.EMBEDDED:
            raise StartError("postgres.dsn is 'embedded', but no embedded PostgreSQL was started for it")

        connect = await asyncio.to_thread(_connector, target)
        gate = Gate(PostgresUnavailable, f"PostgreSQL at {target.label}", log)
        inner = asyncpg.create_pool(connect=connect, min_size=0, max_size=config.pool_size, reset=_keep_session)
        async with plain_group() as group, _closed_at_the_end(await inner):
            pool = cls(inner, gate, group, connect=connect, deadline_s=config.deadline_s, clock=clock)
            watch = group.create_task(pool._watch(), name="postgres watch")
            pool._suspected.set()
            try:
                yield pool
            finally:
                watch.cancel()

    async def fetch(self, query: str, *args: Any, timeout_s: float | None = None) -> list[Any]:
        """All rows of a query."""
        async with self._lent(timeout_s) as connection:
            rows: list[Any] = await connection.fetch(query, *args)
            return rows

    async def fetchrow(self, query: str, *args: Any, timeout_s: float | None = None) -> Any:
        """The first row, or None."""
        async with self._lent(timeout_s) as connection:
            return await connection.fetchrow(query, *args)

    async def fetchval(self, query: str, *args: Any, timeout_s: float | None = None) -> Any:
        """The first column of the first row, or None."""
        async with self._lent(timeout_s) as connection:
            return await connection.fetchval(query, *args)

    async def execute(self, query: str, *args: Any, timeout_s: float | None = None) -> str:
        """Run a statement (or, without arguments, several); answers the last one's tag, as `UPDATE 1`."""
        async with self._lent(timeout_s) as connection:
            return str(await connection.execute(query, *args))

    async def executemany(self, query: str, rows: Iterable[Iterable[Any]], *, timeout_s: float | None = None) -> None:
        """Run a statement once a row: all of them, or none."""
        async with self._lent(timeout_s) as connection:
            await connection.executemany(query, rows)

    @asynccontextmanager
    async def transaction(self, *, timeout_s: float | None = None) -> AsyncIterator[Any]:
        """A connection inside a transaction: committed at the end of the body, rolled back if the body raises.

        `timeout_s` bounds the whole, from waiting for a connection to the commit.
        """
        async with self._lent(timeout_s) as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                yield connection
            except Exception:
                with suppress(asyncpg.InterfaceError, asyncpg.InternalClientError):  # the connection has gone
                    if not connection.is_closed():
                        await transaction.rollback()
                raise
            await transaction.commit()

    async def check(self) -> DependencyState:
        """How the server is now. Raises nothing."""
        if self._gate.status is Status.DOWN:
            return DependencyState(Status.DOWN, self._gate.reason, outages=self._gate.outages)
        started = self._clock.monotonic_s()
        try:
            await self.fetchval("SELECT 1", timeout_s=min(PROBE_S, self._deadline_s))
        except PostgresUnavailable as error:
            return DependencyState(Status.DOWN, str(error), outages=self._gate.outages)
        latency_ms = (self._clock.monotonic_s() - started) * 1000
        return DependencyState(Status.UP, self._gate.reason, latency_ms, self._gate.outages)

    async def wait_until_up(self) -> None:
        """Return when the server has answered and is not known to be away since."""
        await self._gate.opened.wait()

    async def listen(
        self, channel: str, on_message: Callable[[str], None], on_subscribed: Callable[[], None] | None = None
    ) -> None:
        """See `listener`; this one runs for ever."""
        await self.listener(channel, on_message, on_subscribed).run()

    def listener(
        self,
        channel: str,
        on_message: Callable[[str], None],
        on_subscribed: Callable[[], None] | None = None,
        on_lost: Callable[[], None] | None = None,
    ) -> PostgresListener:
        """A `LISTEN` on a connection of its own. `on_subscribed` is called each time it (again) hears."""
        return PostgresListener(self._connect, channel, on_message, on_subscribed, on_lost)

    @asynccontextmanager
    async def _lent(self, timeout_s: float | None) -> AsyncIterator[Any]:
        self._gate.pass_through()
        deadline_s = self._deadline_s if timeout_s is None else timeout_s
        connection = None
        try:
            async with patience(deadline_s):
                connection = await self._pool.acquire()
                async with self._returned(connection):
                    yield connection
        except DRIVER_ERRORS as error:
            if (away := self._translated(error, deadline_s, lent=connection is not None)) is None:
                raise
            raise away from error
        self._gate.open()

    @asynccontextmanager
    async def _returned(self, connection: Any) -> AsyncIterator[None]:
        try:
            yield
        except asyncio.CancelledError:
            self._group.create_task(self._take_back(connection), name="postgres take back")
            raise
        except BaseException as error:
            if isinstance(error, asyncpg.InternalClientError):
                connection.terminate()
            await self._pool.release(connection, timeout=TAKE_BACK_S)
            raise
        await self._pool.release(connection, timeout=TAKE_BACK_S)

    async def _take_back(self, connection: Any) -> None:
        """Bring a connection home whose caller has gone, in whatever state it is."""
        with suppress(*DRIVER_ERRORS):
            try:
                async with asyncio.timeout(TAKE_BACK_S):
                    if connection.is_in_transaction():
                        await connection.execute("ROLLBACK")
            except DRIVER_ERRORS:
                connection.terminate()
            await self._pool.release(connection, timeout=TAKE_BACK_S)

    def _translated(self, error: Exception, deadline_s: float, *, lent: bool) -> Exception | None:
        fault, words = judge(error)
        if fault is Fault.NONE:
            return None
        if fault is Fault.SLOW:
            self._suspected.set()
            words = f"did not answer within {deadline_s:g} s"
            if not lent and self._pool.get_idle_size() == 0 and self._pool.get_size() >= self._pool.get_max_size():
                words = f"had no free connection within {deadline_s:g} s: raise postgres.pool_size"
            return PostgresUnavailable(f"{self._gate.label} {words}")
        self._gate.shut(f"{self._gate.label} {words}")
        self._suspected.set()
        return self._gate.error()

    async def _watch(self) -> None:
        """While the server is suspected, ask it over a fresh connection until it answers."""
        pauses = Backoff(FIRST_PAUSE_S, LAST_PAUSE_S)
        while True:
            await self._suspected.wait()
            self._suspected.clear()
            while not await self._probe():  # noqa: ASYNC110 - what is waited for happens in another process
                await asyncio.sleep(pauses.next_s())
            pauses.reset()

    async def _probe(self) -> bool:
        try:
            async with asyncio.timeout(PROBE_S):
                connection = await self._connect()
            connection.terminate()
        except DRIVER_ERRORS as error:
            _, words = judge(error)
            self._gate.shut(f"{self._gate.label} {words or 'cannot be connected to: ' + type(error).__name__}")
            return False
        if self._gate.status is Status.DOWN:
            await self._pool.expire_connections()
        self._gate.open()
        return True


def _connector(target: PostgresTarget) -> Callable[..., Awaitable[Any]]:
    """A function that makes one connection; further arguments are the driver's. Reads files: call it in a thread."""
    tls = Tls.of(dict(target.options) if target.nodes else {"sslmode": "disable"})
    dsn = replace(target, options=tuple(item for item in target.options if item[0] not in OPTIONS)).dsn
    # A password that is given, if only as an empty one, keeps the driver from reading ~/.pgpass on the loop.
    password = target.password.get_secret_value() if target.password else ""

    async def connect(*_: Any, **kwargs: Any) -> Any:
        options = {"timeout": CONNECT_S, "password": password, **kwargs}
        return await tls.connect(lambda ssl: asyncpg.connect(dsn.get_secret_value(), **{**options, "ssl": ssl}))

    return connect


@asynccontextmanager
async def _closed_at_the_end(pool: Any) -> AsyncIterator[None]:
    try:
        yield
    finally:
        try:
            async with asyncio.timeout(TAKE_BACK_S):
                await pool.close()
        except DRIVER_ERRORS:
            pool.terminate()


async def _keep_session(_: Any) -> None:
    """Nothing to reset: this package sets no session state, so a connection goes back without a round trip."""
