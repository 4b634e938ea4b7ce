"""Applying a changed configuration while requests run. An invalid file changes nothing and is reported."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from citadel_edge.config.changes import applicable, compare
from citadel_edge.config.load import Loaded
from citadel_edge.config.shape import Config, ListenerName
from citadel_edge.edge import Edge
from citadel_edge.embedded.parts import Parts
from citadel_edge.errors import ConfigError


class Reloader:
    """Reads the configuration anew and puts what may change at run time in place."""

    def __init__(self, loaded: Loaded, edge: Edge, parts: Parts, read: Callable[[], Loaded]) -> None:
        self._current = loaded.config
        self._edge = edge
        self._parts = parts
        self._read = read
        self._log = edge.logs.logger()

    async def reload(self) -> dict[str, list[str]]:
        """What was applied, what needs a restart, and what is wrong. Never raises for a wrong file."""
        try:
            fresh = (await asyncio.to_thread(self._read)).config
        except ConfigError as error:
            mistakes = [str(problem) for problem in error.problems]
            self._log.error("reload_refused", mistakes=mistakes)
            return {"applied": [], "needs_restart": [], "errors": mistakes}
        changes = compare(self._current, fresh)
        self._current = applicable(self._current, fresh)
        self._put(self._current)
        if changes.needs_restart:
            self._log.warning("reload_needs_restart", settings=list(changes.needs_restart))
        self._log.info("reloaded", applied=list(changes.applied))
        return {"applied": list(changes.applied), "needs_restart": list(changes.needs_restart), "errors": []}

    def _put(self, config: Config) -> None:
        edge = self._edge
        edge.logs.reconfigure(config.logs)
        edge.config.replace(with_parts(config, self._parts))
        for name in ListenerName:
            edge.budgets[name].resize(config.listeners[name].budget)


def with_parts(config: Config, parts: Parts) -> Config:
    """The configuration as the edge sees it: embedded parts have become addresses."""
    redis = (
        config.redis
        if parts.redis_url is None
        else replace(config.redis, url=parts.redis_url, username=None, password=None)
    )
    postgres = (
        config.postgres
        if parts.postgres_dsn is None
        else replace(config.postgres, dsn=parts.postgres_dsn, user=None, password=None)
    )
    if not parts.upstreams:
        return replace(config, redis=redis, postgres=postgres)
    return replace(config, redis=redis, postgres=postgres, upstreams=parts.upstreams, models=parts.models)
