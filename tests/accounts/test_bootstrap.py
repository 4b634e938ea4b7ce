import asyncio
import dataclasses
import json
import stat

import msgspec
import pytest

from citadel_edge.accounts import reads
from citadel_edge.accounts.bootstrap import Credentials, bootstrap, first_admin_key
from citadel_edge.accounts.principal import Role
from citadel_edge.accounts.reads import PageRequest
from citadel_edge.config.shape import Config, TierConfig
from citadel_edge.errors import Code, RequestError


@pytest.fixture
async def empty(open_instance, migrated_dsn, redis_url):
    """An instance before its first start."""
    async with open_instance(migrated_dsn, redis_url, listening=False) as opened:
        yield opened


async def test_a_first_start_makes_two_keys_that_work(empty):
    made = await bootstrap(empty.postgres, Config(), empty.clock)
    admin = await empty.directory.authenticate(made.admin_key)
    demo = await empty.directory.authenticate(made.demo_key)
    assert (admin.name, admin.role) == ("admin", Role.ADMIN)
    assert (demo.name, demo.role, demo.tier) == ("demo", Role.USER, "free")
    limits = dataclasses.asdict((await reads.get_tier(empty.postgres, admin.tier)).config)
    assert {limits[name] for name in limits if name.endswith(("_minute", "_day", "_month", "concurrent"))} == {None}
    assert made.admin_key.startswith("cit_dev_")


async def test_a_later_start_makes_nothing(empty):
    await bootstrap(empty.postgres, Config(), empty.clock)
    before = await empty.postgres.fetchval("SELECT count(*) FROM audit")
    assert await bootstrap(empty.postgres, Config(), empty.clock) is None
    assert await empty.postgres.fetchval("SELECT count(*) FROM audit") == before


async def test_of_many_instances_at_once_one_makes_them(empty):
    made = await asyncio.gather(*(bootstrap(empty.postgres, Config(), empty.clock) for _ in range(6)))
    assert len([credentials for credentials in made if credentials is not None]) == 1
    assert len((await reads.list_users(empty.postgres, PageRequest())).data) == 2


async def test_in_production_a_start_makes_no_key(empty):
    assert await bootstrap(empty.postgres, Config(environment="production"), empty.clock) is None
    assert (await reads.list_users(empty.postgres, PageRequest())).data == ()
    assert [each.name for each in (await reads.list_organisations(empty.postgres, PageRequest())).data] == ["default"]
    assert len((await reads.list_tiers(empty.postgres, PageRequest())).data) == 3


async def test_configured_tiers_are_seeds_and_what_operators_changed_stays(empty, by):
    config = Config(tiers=(TierConfig(name="bronze", requests_per_minute=7), TierConfig(name="silver")))
    made = await bootstrap(empty.postgres, config, empty.clock)
    assert (await empty.directory.authenticate(made.demo_key)).tier == "bronze"
    await empty.changes.update_tier("bronze", {"requests_per_minute": 9}, by=by)
    grown = dataclasses.replace(config, tiers=(*config.tiers, TierConfig(name="new")))
    await bootstrap(empty.postgres, grown, empty.clock)
    assert (await reads.get_tier(empty.postgres, "bronze")).config.requests_per_minute == 9
    names = [tier.name for tier in (await reads.list_tiers(empty.postgres, PageRequest())).data]
    assert names == ["bronze", "new", "silver", "unlimited"]


async def test_a_configured_tier_of_the_same_name_as_ours_wins(empty):
    config = Config(tiers=(TierConfig(name="unlimited", requests_per_minute=1000),))
    assert await bootstrap(empty.postgres, config, empty.clock) is not None
    assert (await reads.get_tier(empty.postgres, "unlimited")).config.requests_per_minute == 1000


async def test_the_first_admin_key_is_made_by_hand_once(empty):
    config = Config(environment="production")
    await bootstrap(empty.postgres, config, empty.clock)
    text = await first_admin_key(empty.postgres, config, empty.clock)
    assert text.startswith("cit_prod_")
    admin = await empty.directory.authenticate(text)
    assert admin.role is Role.ADMIN
    with pytest.raises(RequestError) as caught:
        await first_admin_key(empty.postgres, config, empty.clock)
    assert caught.value.code is Code.CONFLICT
    forced = await first_admin_key(empty.postgres, config, empty.clock, force=True)
    assert (await empty.directory.authenticate(forced)).user_id == admin.user_id


async def test_the_first_admin_key_needs_no_start_before_and_of_many_one_is_made(empty):
    config = Config(environment="production")
    attempts = [first_admin_key(empty.postgres, config, empty.clock) for _ in range(4)]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    assert len([result for result in results if isinstance(result, str)]) == 1


async def test_an_admin_whose_keys_have_ended_gets_a_new_one(empty, by):
    made = await bootstrap(empty.postgres, Config(), empty.clock)
    admin = await empty.directory.authenticate(made.admin_key)
    await empty.changes.revoke_key(admin.user_id, admin.key_id, by=by)
    text = await first_admin_key(empty.postgres, Config(), empty.clock)
    assert (await empty.directory.authenticate(text)).user_id == admin.user_id


def test_credentials_are_written_for_their_owner_alone_and_show_nothing(tmp_path):
    credentials = Credentials(admin_key="cit_a", demo_key="cit_d")
    path = tmp_path / "credentials.json"
    path.write_text("old")
    path.chmod(0o644)
    credentials.write(path)
    assert json.loads(path.read_text()) == {"admin_key": "cit_a", "demo_key": "cit_d"}
    assert msgspec.json.decode(path.read_bytes(), type=Credentials) == credentials
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
    assert "cit_" not in repr(credentials)
