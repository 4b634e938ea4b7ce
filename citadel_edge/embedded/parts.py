"""The private databases and model servers of one edge: made ready, launched together, kept alive, stopped together.

Decides which parts the configuration asks for. Refuses to know their insides (a module each) and how a part is kept
alive (`supervisor`).
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType

from structlog.typing import FilteringBoundLogger

from citadel_edge.config.shape import Config, ModelConfig, UpstreamConfig
from citadel_edge.config.urls import EMBEDDED
from citadel_edge.embedded import llama, postgres, valkey
from citadel_edge.embedded.child import last_words
from citadel_edge.embedded.datadir import DataDir, locked
from citadel_edge.embedded.identity import As
from citadel_edge.embedded.llama import Replicas
from citadel_edge.embedded.postgres import Postgres
from citadel_edge.embedded.supervisor import Part, PartState, Supervisor
from citadel_edge.embedded.threads import entered
from citadel_edge.embedded.valkey import Valkey
from citadel_edge.errors import StartError
from citadel_edge.groups import plain_group


@dataclass(frozen=True, slots=True)
class Parts:
    """The launched parts. Addresses hold for the life of the edge, also while a part is down.

    Attributes:
        redis_url: `unix://…`, or None when Redis is not embedded.
        postgres_dsn: `postgresql://…?host=…`, or None when PostgreSQL is not embedded.
        upstreams: the embedded replicas; empty when the configuration has a fleet of its own.
        models: what they serve.
    """

    redis_url: str | None = None
    postgres_dsn: str | None = None
    upstreams: tuple[UpstreamConfig, ...] = ()
    models: tuple[ModelConfig, ...] = ()
    supervisors: Mapping[str, Supervisor] = field(default_factory=dict)

    def states(self) -> Mapping[str, PartState]:
        """Each part's state by its name: `postgres`, `valkey`, `local-0` and so on."""
        return MappingProxyType({name: supervisor.state for name, supervisor in self.supervisors.items()})

    async def ready(self, timeout_s: float) -> None:
        """Wait until every part is ready.

        Raises:
            StartError: one was not within `timeout_s` seconds; names it with the last line of its log.
        """
        try:
            async with asyncio.timeout(timeout_s):
                for supervisor in self.supervisors.values():
                    await supervisor.ready.wait()
        except TimeoutError:
            raise StartError(await asyncio.to_thread(self._complaint, timeout_s)) from None

    def _complaint(self, timeout_s: float) -> str:
        late = [one for one in self.supervisors.values() if one.state is not PartState.READY]
        return "; ".join(
            f"the embedded {one.part.name} is {one.state.value} after {timeout_s:g} s, last words: "
            f"{last_words(one.part.launch.log) or 'none'} (see {one.part.launch.log})"
            for one in late
        )


@asynccontextmanager
async def open_parts(
    config: Config, *, log: FilteringBoundLogger, progress: Callable[[str], None], postgres_as: As | None = None
) -> AsyncIterator[Parts]:
    """Lock the data directory, launch what the configuration has embedded, and keep it alive until the end.

    Yields once all are launched; `Parts.ready` waits for them to serve. At the end all are stopped together, each
    within its grace. The first time the model and the database are prepared, of which `progress` is told, line by line.

    Args:
        config: the whole configuration.
        log: each change of a part's state becomes one line.
        progress: called on the loop with a line for the person who waits.
        postgres_as: how PostgreSQL is kept from being root; found out when None.

    Raises:
        StartError: the data directory is taken, a wheel is missing, or a part cannot be prepared; says what to do.
    """
    async with AsyncExitStack() as stack:
        data = await stack.enter_async_context(entered(locked(config.data_dir)))
        found = await _prepare(stack, _Wanted(config, data, progress, postgres_as))
        supervisors = {part.name: Supervisor(part, log=log) for part in found.parts()}
        async with _supervised(supervisors.values()):
            yield found.opened(supervisors)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What preparing needs to know."""

    config: Config
    data: DataDir
    progress: Callable[[str], None]
    postgres_as: As | None


@dataclass(slots=True)
class _Found:
    """What was prepared, each in its own task."""

    postgres: Postgres | None = None
    valkey: Valkey | None = None
    replicas: Replicas = field(default_factory=Replicas)

    def parts(self) -> Iterable[Part]:
        """All there is to launch."""
        databases = (found.part for found in (self.postgres, self.valkey) if found is not None)
        return (*databases, *self.replicas.parts)

    def opened(self, supervisors: Mapping[str, Supervisor]) -> Parts:
        """As the edge sees it."""
        return Parts(
            redis_url=None if self.valkey is None else self.valkey.url,
            postgres_dsn=None if self.postgres is None else self.postgres.dsn,
            upstreams=self.replicas.upstreams,
            models=self.replicas.models,
            supervisors=supervisors,
        )


async def _prepare(stack: AsyncExitStack, wanted: _Wanted) -> _Found:
    """Prepare all at once; what must be undone at the end goes onto `stack`."""
    config, found = wanted.config, _Found()
    async with plain_group() as group:
        if config.postgres.dsn == EMBEDDED:
            group.create_task(_prepare_postgres(stack, wanted, found))
        if config.redis.url == EMBEDDED:
            group.create_task(_prepare_valkey(stack, wanted, found))
        if not config.upstreams and not config.models:
            group.create_task(_prepare_replicas(stack, wanted, found))
    return found


async def _prepare_postgres(stack: AsyncExitStack, wanted: _Wanted, found: _Found) -> None:
    found.postgres = await stack.enter_async_context(
        postgres.prepared(
            wanted.data,
            database=wanted.config.postgres.database,
            progress=wanted.progress,
            run_as=wanted.postgres_as,
        )
    )


async def _prepare_valkey(stack: AsyncExitStack, wanted: _Wanted, found: _Found) -> None:
    found.valkey = await stack.enter_async_context(valkey.prepared(wanted.data))


async def _prepare_replicas(stack: AsyncExitStack, wanted: _Wanted, found: _Found) -> None:
    found.replicas = await stack.enter_async_context(
        llama.prepared(wanted.data, wanted.config.embedded, progress=wanted.progress)
    )


@asynccontextmanager
async def _supervised(supervisors: Iterable[Supervisor]) -> AsyncIterator[None]:
    """The supervisors at work; at the end they stop their parts, together, and are waited for."""
    async with plain_group() as group:
        runs = [group.create_task(one.run(), name=f"supervise {one.part.name}") for one in supervisors]
        try:
            yield
        finally:
            for one in supervisors:
                one.stop()
            if runs:
                await asyncio.wait(runs)
