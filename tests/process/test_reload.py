"""What a reload answers is what it did: on a whole edge, with a file that changes."""

import asyncio
import signal
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from citadel_edge.accounts.desk import Actor
from citadel_edge.accounts.tiers import create_tier, delete_tier, get_tier
from citadel_edge.config.load import Loaded
from citadel_edge.config.shape import BudgetConfig, ListenerConfig, ListenerName, TierConfig
from citadel_edge.embedded.parts import Parts
from citadel_edge.errors import ConfigError, Problem, RequestError
from citadel_edge.process.reload import Reloader
from edges import serving
from servers import (  # noqa: F401 - fixtures
    migrated_dsn,
    migrated_template,
    own_postgres,
    postgres_server,
    redis_url,
    valkey_server,
)

BY = Actor(who="a test")
GOLD = TierConfig(name="gold", requests_per_minute=7)
FREE = TierConfig(name="free", requests_per_minute=20)


class House:
    """An edge whose file says what `write` said last."""

    def __init__(self, served):
        self.edge = served.edge
        self.log = served.log
        self._written = self.edge.config.value
        self._reloader = Reloader(Loaded(self._written, (), ()), self.edge, Parts(), self._read)

    def _read(self):
        if isinstance(self._written, ConfigError):
            raise self._written
        return Loaded(self._written, (), ())

    def write(self, wrong=None, **changes):
        self._written = wrong or replace(self._written, **changes)

    async def reload(self):
        return await self._reloader.reload()

    async def tier(self, name):
        return (await get_tier(self.edge.postgres, name)).config


@pytest.fixture
def house_on(redis_url, tmp_path):  # noqa: F811
    @asynccontextmanager
    async def opened(dsn, **changes):
        changes.setdefault("tiers", ())
        async with serving(dsn=dsn, redis_url=redis_url, data_dir=tmp_path, options=(), changes=changes) as served:
            yield House(served)

    return opened


def answer(applied=(), needs_restart=(), ignored=(), errors=()):
    return {
        "applied": list(applied),
        "needs_restart": list(needs_restart),
        "ignored": list(ignored),
        "errors": list(errors),
    }


async def test_a_new_tier_is_seeded_and_then_claimed(house_on, migrated_dsn):  # noqa: F811
    async with house_on(migrated_dsn) as house:
        house.write(tiers=(FREE, GOLD))
        assert await house.reload() == answer(applied=["tiers[gold]"], ignored=["tiers[free]"])
        assert await house.tier("gold") == GOLD
        row = await house.edge.postgres.fetchrow(
            "SELECT who, subject FROM audit WHERE action = 'seed_tier' AND who = 'reload'"
        )
        assert tuple(row) == ("reload", "gold")
        assert await house.reload() == answer()


async def test_seeds_change_nothing_that_is_there(house_on, migrated_dsn):  # noqa: F811
    async with house_on(migrated_dsn, tiers=(FREE,)) as house:
        await create_tier(house.edge.changes, GOLD, by=BY)
        house.write(tiers=(replace(FREE, requests_per_minute=1), replace(GOLD, requests_per_minute=1)))
        assert await house.reload() == answer(ignored=["tiers[free].requests_per_minute", "tiers[gold]"])
        assert (await house.tier("free"), await house.tier("gold")) == (FREE, GOLD)
        house.write(tiers=())
        assert (await house.reload())["ignored"] == ["tiers[free]", "tiers[gold]"]
        assert (await house.tier("free"), await house.tier("gold")) == (FREE, GOLD)


async def test_a_tier_the_operators_deleted_does_not_come_back_by_a_reload(house_on, migrated_dsn):  # noqa: F811
    async with house_on(migrated_dsn, tiers=(FREE, GOLD)) as house:
        await delete_tier(house.edge.changes, "gold", by=BY)
        house.write(tiers=(FREE, GOLD, TierConfig(name="silver")))
        assert await house.reload() == answer(applied=["tiers[silver]"])
        with pytest.raises(RequestError):
            await house.tier("gold")


async def test_without_the_database_a_tier_is_not_claimed_and_the_next_reload_seeds_it(house_on, own_postgres):  # noqa: F811
    async with house_on(own_postgres.dsn()) as house:
        house.write(tiers=(GOLD,), http=replace(house.edge.config.value.http, max_body_bytes=5))
        await asyncio.to_thread(own_postgres.stop, signal.SIGINT)  # orderly: nothing that was committed is lost
        told = await house.reload()
        assert told["applied"] == ["http.max_body_bytes"]
        assert told["errors"][0].startswith("tiers[gold]: not seeded, reload again: ")
        assert len(told["errors"]) == 1
        assert house.edge.config.value.http.max_body_bytes == 5
        assert '"reload_not_seeded"' in house.log.getvalue()
        await asyncio.to_thread(own_postgres.start)
        async with asyncio.timeout(60):
            await house.edge.postgres.wait_until_up()
        assert await house.reload() == answer(applied=["tiers[gold]"])
        assert await house.tier("gold") == GOLD


async def test_reloads_at_once_seed_once(house_on, migrated_dsn):  # noqa: F811
    async with house_on(migrated_dsn) as house:
        house.write(tiers=(GOLD,))
        told = await asyncio.gather(*(house.reload() for _ in range(4)))
        assert [each["applied"] for each in told].count(["tiers[gold]"]) == 1


async def test_a_wrong_file_changes_nothing(house_on, migrated_dsn):  # noqa: F811
    async with house_on(migrated_dsn) as house:
        before = house.edge.config.value
        house.write(wrong=ConfigError([Problem("routing.retries", "too many")]))
        assert await house.reload() == answer(errors=["routing.retries: too many"])
        assert house.edge.config.value == before


async def test_the_spool_is_bound_by_the_storage_of_the_live_configuration(house_on, migrated_dsn):  # noqa: F811
    async with house_on(migrated_dsn) as house:
        house.edge.ledger._spool.bytes = 2 * 2**20
        house.edge.ledger.check_room()
        narrow = ListenerConfig(port=0, budget=BudgetConfig(storage_mb=1))
        house.write(listeners={**house.edge.config.value.listeners, ListenerName.ROUTING: narrow})
        assert (await house.reload())["applied"] == ["listeners.routing-api.budget.storage_mb"]
        with pytest.raises(RequestError, match="fill their storage budget"):
            house.edge.ledger.check_room()
