"""Applying a changed configuration while requests run. An invalid file changes nothing and is reported.

Decides what a reload may say of itself: only what it did. Reloads go one after another.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import asyncpg

from citadel_edge.accounts.bootstrap import LOCK
from citadel_edge.accounts.desk import Actor, Change
from citadel_edge.accounts.tiers import seed_tiers
from citadel_edge.config.changes import applicable, compare
from citadel_edge.config.load import Loaded
from citadel_edge.config.shape import Config, ListenerName, TierConfig
from citadel_edge.edge import Edge
from citadel_edge.embedded.parts import Parts
from citadel_edge.errors import CitadelError, ConfigError


class Reloader:
    """Reads the configuration anew and puts what may change at run time in place."""

    def __init__(self, loaded: Loaded, edge: Edge, parts: Parts, read: Callable[[], Loaded]) -> None:
        self._current = loaded.config
        self._edge = edge
        self._parts = parts
        self._read = read
        self._log = edge.logs.logger()
        self._turn = asyncio.Lock()

    async def reload(self) -> dict[str, list[str]]:
        """Lists of paths: what was `applied`, what `needs_restart`, what is `ignored`; and of sentences: `errors`.

        Ignored are tiers that exist already, and changes to them. Never raises for a wrong file or a database that is
        away: tiers that could not be seeded are an error, and the next reload tries them again.
        """
        async with self._turn:
            return await self._reload()

    async def _reload(self) -> dict[str, list[str]]:
        try:
            fresh = (await asyncio.to_thread(self._read)).config
        except ConfigError as error:
            mistakes = [str(problem) for problem in error.problems]
            self._log.error("reload_refused", mistakes=mistakes)
            return {"applied": [], "needs_restart": [], "ignored": [], "errors": mistakes}
        old, changes = self._current, compare(self._current, fresh)
        now = applicable(old, fresh)
        self._put(now)
        self._current = replace(now, tiers=old.tiers)  # until they are seeded
        new = {f"tiers[{tier.name}]": tier for tier in _added(old, now)}
        errors = []
        try:
            seeded = await self._seed(new)
            self._current = now
        except (CitadelError, asyncpg.PostgresError) as error:
            seeded = []
            errors = [f"{', '.join(new)}: not seeded, reload again: {_words(error)}"]
        pending = new if errors else seeded
        return self._told(
            {
                "applied": [*changes.applied, *seeded],
                "needs_restart": list(changes.needs_restart),
                "ignored": [path for path in changes.seeds if path not in pending],
                "errors": errors,
            }
        )

    def _told(self, answer: dict[str, list[str]]) -> dict[str, list[str]]:
        """The answer, which is in the log too."""
        if answer["needs_restart"]:
            self._log.warning("reload_needs_restart", settings=answer["needs_restart"])
        if answer["ignored"]:
            self._log.warning("reload_ignored", settings=answer["ignored"], reason="tiers that exist are not changed")
        if answer["errors"]:
            self._log.error("reload_not_seeded", mistakes=answer["errors"])
        self._log.info("reloaded", applied=answer["applied"])
        return answer

    async def _seed(self, tiers: Mapping[str, TierConfig]) -> list[str]:
        """The paths of those tiers that are in the database by this call. All or none are."""
        if not tiers:
            return []
        async with self._edge.postgres.transaction() as connection:
            change = Change(connection, Actor(who="reload"))
            await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
            there = {row["name"] for row in await connection.fetch("SELECT name FROM tiers")}
            missing = {path: tier for path, tier in tiers.items() if tier.name not in there}
            await seed_tiers(change, tuple(missing.values()))
        return list(missing)

    def _put(self, config: Config) -> None:
        edge = self._edge
        edge.logs.reconfigure(config.logs)
        edge.config.replace(with_parts(config, self._parts))
        for name in ListenerName:
            edge.budgets[name].resize(config.listeners[name].budget)


def _added(old: Config, new: Config) -> Iterator[TierConfig]:
    known = {tier.name for tier in old.tiers}
    return (tier for tier in new.tiers if tier.name not in known)


def _words(error: Exception) -> str:
    """A reason without the text of any row."""
    return str(error) if isinstance(error, CitadelError) else f"PostgreSQL refused ({type(error).__name__})"


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
