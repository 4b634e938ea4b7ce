"""A database from before quotas: what its tiers had beyond the bounds."""

import asyncio
import json

import asyncpg
import pytest

from citadel_edge.storage.migrate import migrate, packaged


async def test_limits_that_were_none_become_the_largest_and_it_is_in_the_trail(open_instance, postgres_dsn, redis_url):
    async with open_instance(postgres_dsn, redis_url, listening=False) as old:
        await old.postgres.wait_until_up()
        await migrate(old.postgres, (await asyncio.to_thread(packaged))[:3])
        await old.postgres.execute(
            "INSERT INTO tiers (name, tokens_per_day, usd_per_month, concurrent) VALUES "
            "('endless', 9007199254740992, 'infinity', 5), ('odd', NULL, 'NaN', 0), ('plain', 10000000000, 9000000, 1)"
        )
        await migrate(old.postgres)
        rows = await old.postgres.fetch("SELECT * FROM tiers ORDER BY name")
        found = [(row["name"], row["tokens_per_day"], row["usd_per_month"], row["concurrent"]) for row in rows]
        assert found == [("endless", 10**10, 9e6, 5), ("odd", None, 9e6, 0), ("plain", 10**10, 9e6, 1)]
        assert [row["version"] for row in rows] == [2, 2, 1]
        trail = await old.postgres.fetch("SELECT * FROM audit ORDER BY subject")
        assert [(line["who"], line["subject"]) for line in trail] == [("migration", "endless"), ("migration", "odd")]
        assert json.loads(trail[0]["before"])["tokens_per_day"] == 2**53
        with pytest.raises(asyncpg.CheckViolationError):
            await old.postgres.execute("UPDATE tiers SET concurrent = 10000000001")
