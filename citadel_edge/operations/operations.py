"""What operators change in the running fleet: weights and states of upstreams, breakers tripped and reset by hand.

Decides that a change is one transaction with its line in the audit trail, that it holds here before it is answered,
that the other instances hear of it, and that it outlives restarts, reloads and the loss of every database. Refuses to
know what a fleet does with a setting.

A setting counts by its version: news that come twice, late or in another order do no harm. A reset is an order, not a
state: it is carried out once, by those who run when it is given.
"""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from msgspec import UNSET
from structlog.typing import FilteringBoundLogger

from citadel_edge.accounts.desk import Actor, Desk
from citadel_edge.errors import Code, PostgresUnavailable, RedisUnavailable, RequestError
from citadel_edge.fleet.fleet import Fleet
from citadel_edge.fleet.table import RowState
from citadel_edge.operations.settings import (
    BreakerOrder,
    Setting,
    SettingKind,
    Source,
    UpstreamPatch,
    check_order,
    check_patch,
)
from citadel_edge.operations.settings_table import POSTGRES_CHANNEL, lock, read_all, write
from citadel_edge.storage.postgres import PostgresPool
from citadel_edge.storage.redis_pool import RedisPool

REDIS_CHANNEL: Final = "citadel:fleet"
RETRY_S: Final = 1.0


class Operations:
    """The settings of this fleet. `run` is its worker; without it nothing is heard of changes made elsewhere."""

    def __init__(
        self, *, fleet: Fleet, desk: Desk, postgres: PostgresPool, redis: RedisPool, log: FilteringBoundLogger
    ) -> None:
        self._fleet = fleet
        self._desk = desk
        self._postgres = postgres
        self._redis = redis
        self._log = log
        self._settings: dict[tuple[SettingKind, str], Setting] = {}
        self._read_once = False
        self._doubt = asyncio.Event()
        fleet.watch(self._put_again)

    def setting(self, kind: SettingKind, identity: str) -> Setting | None:
        """What was set by the API, null where nothing ever was."""
        return self._settings.get((kind, identity))

    async def patch_upstream(
        self, identity: str, patch: UpstreamPatch, *, by: Actor, version: int | None = None
    ) -> Setting:
        """Change weight or state of an upstream.

        Raises:
            RequestError: there is none of that id, a value is not possible, `version` is stale.
            PostgresUnavailable: the database is away; nothing was changed.
        """
        check_patch(patch)
        self._demand(SettingKind.UPSTREAM, identity)
        async with self._desk.change(by) as change:
            before = await lock(change, SettingKind.UPSTREAM, identity, version=version)
            setting = await write(
                change,
                before,
                action="patch_upstream",
                weight=before["weight"] if patch.weight is UNSET else patch.weight,
                state=before["state"] if patch.state is UNSET else RowState(patch.state).value,
            )
        await self._changed(setting)
        return setting

    async def trip(self, identity: str, order: BreakerOrder, *, by: Actor, version: int | None = None) -> Setting:
        """Open a breaker until it is reset. Raises as `patch_upstream`."""
        return await self._order(identity, order, by=by, version=version, tripped=True)

    async def reset(self, identity: str, order: BreakerOrder, *, by: Actor, version: int | None = None) -> Setting:
        """Close a breaker, whoever opened it. Raises as `patch_upstream`."""
        return await self._order(identity, order, by=by, version=version, tripped=False)

    async def _order(
        self, identity: str, order: BreakerOrder, *, by: Actor, version: int | None, tripped: bool
    ) -> Setting:
        check_order(order)
        self._demand(SettingKind.BREAKER, identity)
        action = "trip_breaker" if tripped else "reset_breaker"
        async with self._desk.change(by) as change:
            before = await lock(change, SettingKind.BREAKER, identity, version=version)
            setting = await write(change, before, action=action, tripped=tripped, reason=order.reason)
        await self._changed(setting)
        return setting

    def _demand(self, kind: SettingKind, identity: str) -> None:
        if not self._stands(kind, identity):
            raise RequestError(Code.NOT_FOUND, f"there is no {kind.value} {identity[:80]!r}")

    def _stands(self, kind: SettingKind, identity: str) -> bool:
        if kind is SettingKind.UPSTREAM:
            return identity in self._fleet.table.rows
        return identity in self._fleet.table.breakers

    async def _changed(self, setting: Setting) -> None:
        """It is committed: it holds here at once. A trigger tells the others; Redis is the second way."""
        self._take(setting, ordered=True)
        with suppress(RedisUnavailable):
            await self._redis.publish(REDIS_CHANNEL, f"changed {setting.kind.value}")

    async def load(self, *, timeout_s: float | None = None) -> None:
        """Take in what is kept. Raises `PostgresUnavailable`."""
        for setting in await read_all(self._postgres, timeout_s=timeout_s):
            self._take(setting, ordered=self._read_once)
        self._read_once = True

    async def look_first(self, *, within_s: float) -> None:
        """Load before the first request, if the database answers in time: a drained upstream shall not get one."""
        with suppress(PostgresUnavailable):
            await self.load(timeout_s=within_s)

    async def run(self) -> None:
        """Hear of changes and take them in, also those that were missed. Until cancelled."""
        by_postgres = self._postgres.listener(POSTGRES_CHANNEL, lambda _: self._doubt.set(), self._doubt.set)
        by_redis = self._redis.listener(REDIS_CHANNEL, lambda _: self._doubt.set(), self._doubt.set)
        async with asyncio.TaskGroup() as group:
            group.create_task(by_postgres.run(), name="fleet news by PostgreSQL")
            group.create_task(by_redis.run(), name="fleet news by Redis")
            group.create_task(self._follow(), name="fleet settings")

    async def _follow(self) -> None:
        self._doubt.set()
        while True:
            await self._doubt.wait()
            self._doubt.clear()
            try:
                await self.load()
            except PostgresUnavailable:
                self._doubt.set()
                await asyncio.sleep(RETRY_S)
                await self._postgres.wait_until_up()

    def _take(self, setting: Setting, *, ordered: bool) -> None:
        """`ordered`: it was set while this process ran, so a reset is carried out."""
        known = self._settings.get(setting.key)
        if known is not None and known.version >= setting.version:
            return
        self._settings[setting.key] = setting
        self._put(setting, ordered=ordered)

    def _put_again(self) -> None:
        """The configuration was replaced: new rows know nothing of what was set."""
        for setting in self._settings.values():
            self._put(setting, ordered=False)

    def _put(self, setting: Setting, *, ordered: bool) -> None:
        """Do in the fleet what the setting says; of an upstream that is not there, nothing.

        A model that was cut off on an upstream stays so when it is the only one there.
        """
        if not (self._stands(*setting.key) or (setting.tripped and self._fleet.guard(setting.id))):
            return
        if setting.kind is SettingKind.UPSTREAM:
            self._set_row(setting)
        elif setting.tripped:
            self._fleet.trip(setting.id, source=Source.API.value)
        elif ordered:
            self._fleet.reset(setting.id, source=Source.API.value)
        else:
            return
        if ordered:
            self._log.info("fleet setting", kind=setting.kind.value, id=setting.id, **dict(_words(setting)))

    def _set_row(self, setting: Setting) -> None:
        row, source = self._fleet.table.rows[setting.id], setting.source.value
        state = RowState.ACTIVE if setting.state is None else setting.state
        if (row.weight, row.state, row.source) != (setting.weight, state, source):
            self._fleet.set_row(setting.id, weight=setting.weight, state=state, source=source)


def _words(setting: Setting) -> Iterator[tuple[str, object]]:
    yield "by", setting.set_by
    if setting.kind is SettingKind.UPSTREAM:
        yield "weight", setting.weight
        yield "state", setting.state and setting.state.value
    else:
        yield "order", "trip" if setting.tripped else "reset"
        yield "reason", setting.reason
