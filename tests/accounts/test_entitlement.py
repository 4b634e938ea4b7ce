"""What a caller may use, as the directory reads it; and how soon a change of it is known."""

import asyncio
from datetime import UTC, timedelta
from zoneinfo import ZoneInfo

import pytest

from citadel_edge.accounts.entitlement import EMPTY, UNLIMITED, LimitSheet, TopUp
from citadel_edge.accounts.organisations import NewOrganisation, OrganisationPatch
from citadel_edge.accounts.users import NewUser, UserPatch, UserState
from citadel_edge.config.limits import LimitsConfig
from citadel_edge.config.shape import OnRedisDown, TierConfig
from citadel_edge.errors import Code, RequestError

TOLD_S = 1.0 * 5
"""The promise is one second; a busy machine gets five."""
GOLD = TierConfig(
    name="gold",
    requests_per_minute=7,
    usd_per_month=1.5,
    burst=0.5,
    by_model={"big": LimitsConfig(tokens_per_day=0)},
    by_endpoint={"/v1/embeddings": LimitsConfig(concurrent=1)},
    on_redis_down=OnRedisDown(requests="closed", spend="open"),
)


async def test_an_unlimited_user_carries_no_limit(instance):
    _, made = await instance.user_with_key()
    entitled = (await instance.directory.authenticate(made.text)).entitlement
    assert (entitled.tier, entitled.overrides, entitled.organisation, entitled.top_ups) == (
        LimitSheet(),
        EMPTY,
        EMPTY,
        (),
    )
    assert entitled.zone is UTC


async def test_everything_that_limits_a_user_comes_with_the_key(instance, by):
    await instance.changes.create_tier(GOLD, by=by)
    shared = {"tokens_per_day": 100, "usd_per_month": None, "by_model": {"big": {"concurrent": 3}}, "burst": 0.1}
    new = NewOrganisation(name="acme", time_zone="Europe/Berlin", limits=shared)
    acme = await instance.changes.create_organisation(new, by=by)
    user, made = await instance.user_with_key(tier="gold")
    await instance.changes.update_user(user.id, UserPatch(organisation="acme"), by=by)
    await instance.postgres.execute(
        "INSERT INTO quotas (user_id, overrides) VALUES ($1, $2)", user.id, '{"requests_per_minute": null}'
    )
    principal = await instance.directory.authenticate(made.text)
    entitled = principal.entitlement
    assert principal.organisation_id == acme.id
    assert entitled.tier == LimitSheet(
        values={"requests_per_minute": 7, "usd_per_month": 1.5},
        by_model={"big": {"tokens_per_day": 0}},
        by_endpoint={"/v1/embeddings": {"concurrent": 1}},
    )
    assert entitled.overrides == LimitSheet(values={"requests_per_minute": None})
    assert entitled.organisation == LimitSheet(
        values={"tokens_per_day": 100, "usd_per_month": None}, by_model={"big": {"concurrent": 3}}, burst=0.1
    )
    assert (entitled.burst, entitled.zone) == (0.5, ZoneInfo("Europe/Berlin"))
    assert (entitled.requests_when_away, entitled.spend_when_away) == (False, True)


async def test_top_ups_come_one_by_one_while_they_count_and_as_one_sum_behind_it(instance):
    user, made = await instance.user_with_key()
    now = instance.clock.now()
    soon, later = now + timedelta(hours=1), now + timedelta(hours=2)
    await _give(instance, user, ("a", 5, None, None, None), ("b", 6, None, None, None), ("c", 7, None, later, None))
    await _give(instance, user, ("d", None, "2.5", soon, None), ("e", 1, None, now - timedelta(days=500), None))
    await _give(instance, user, ("f", None, "0.000000001", None, now - timedelta(days=1)))
    await _give(instance, user, ("g", 30, None, later, now - timedelta(hours=1)))
    entitled = (await instance.directory.authenticate(made.text)).entitlement
    assert set(entitled.top_ups) == {
        TopUp(tokens=11),
        TopUp(tokens=7, expires_unix_s=later.timestamp()),
        TopUp(nano_usd=2_500_000_000, expires_unix_s=soon.timestamp()),
        TopUp(tokens=31, nano_usd=1, expires_unix_s=(now - timedelta(days=500)).timestamp()),
    }


async def test_an_organisation_in_a_zone_this_machine_does_not_know_counts_in_utc(instance):
    user, made = await instance.user_with_key()
    await instance.postgres.execute("UPDATE organisations SET time_zone = 'Mars/Base'")
    assert (await instance.directory.authenticate(made.text)).entitlement.zone is UTC
    assert (await instance.directory.entitled(user.id)).entitlement.zone is UTC


async def test_all_keys_of_a_user_carry_the_same_entitlement(instance, by):
    user, made = await instance.user_with_key()
    first = await instance.directory.authenticate(made.text)
    instance.directory._keys.records.forget(first.key_id)
    second = await instance.directory.authenticate(made.text)
    assert second is not first
    assert second.entitlement is first.entitlement
    await instance.changes.update_user(user.id, UserPatch(name="other"), by=by)
    assert (await instance.directory.authenticate(made.text)).entitlement is first.entitlement


CHANGES = {
    "the tier": "UPDATE tiers SET concurrent = 5",
    "the organisation": """UPDATE organisations SET limits = '{"concurrent": 5}'""",
    "the overrides": """INSERT INTO quotas SELECT id, '{"concurrent": 5}' FROM users""",
    "a top-up": "INSERT INTO top_ups SELECT 'top_1', id, 5, NULL, 'gift', NULL, NULL, now(), 'x' FROM users LIMIT 1",
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_by_any_way_is_known_to_every_instance_within_a_second(
    instance, open_instance, migrated_dsn, redis_url, change
):
    _, made = await instance.user_with_key()
    await instance.postgres.execute("DELETE FROM users WHERE name <> 'ada'")
    async with open_instance(migrated_dsn, redis_url) as other:
        await other.hears()
        before = (await other.directory.authenticate(made.text)).entitlement
        await instance.postgres.execute(CHANGES[change])
        async with asyncio.timeout(TOLD_S):
            while (await other.directory.authenticate(made.text)).entitlement == before:
                await asyncio.sleep(0.005)


async def test_a_change_holds_here_when_it_is_answered(instance, by):
    user, made = await instance.user_with_key()
    await instance.directory.authenticate(made.text)
    patch = OrganisationPatch(limits={"concurrent": 2})
    await instance.changes.update_organisation(user.organisation_id, patch, by=by)
    for principal in (await instance.directory.authenticate(made.text), await instance.directory.entitled(user.id)):
        assert principal.entitlement.organisation.values == {"concurrent": 2}


async def test_a_user_is_entitled_by_id_without_a_key(instance, by):
    user, made = await instance.user_with_key()
    principal = await instance.directory.entitled(user.id)
    assert (principal.user_id, principal.key_id, principal.name) == (user.id, "", "ada")
    assert principal.entitlement == (await instance.directory.authenticate(made.text)).entitlement
    assert await instance.directory.entitled(user.id) is principal
    await instance.changes.update_user(user.id, UserPatch(state=UserState.SUSPENDED), by=by)
    assert await _code(instance.directory.entitled(user.id)) is Code.SUSPENDED
    await instance.changes.delete_user(user.id, by=by)
    assert await _code(instance.directory.entitled(user.id)) is Code.NOT_FOUND


async def test_an_unknown_user_is_404_and_what_is_no_id_asks_nobody(instance):
    assert await _code(instance.directory.entitled("usr_" + "0" * 22)) is Code.NOT_FOUND
    for odd in ("", "usr_x", "\0", "\ud800", "key_" + "0" * 22, "usr_" + "0" * 5000):
        assert await _code(instance.directory.entitled(odd)) is Code.NOT_FOUND
    assert len(instance.directory._users.records._absent) == 1


async def test_many_who_ask_for_one_user_ask_once(instance):
    user, _ = await instance.user_with_key()
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(instance.directory.entitled(user.id)) for _ in range(50)]
    assert len({id(one.result()) for one in asked}) == 1


async def test_a_user_s_record_opens_no_door(instance):
    user, made = await instance.user_with_key()
    await instance.directory.entitled(user.id)
    assert instance.directory.lookup(made.text) is None
    assert instance.directory._users.records.get(user.id).hash == b""


def test_whoever_is_not_limited_is_so_by_default():
    assert UNLIMITED.tier == UNLIMITED.overrides == UNLIMITED.organisation == EMPTY


IMPOSSIBLE = (
    ({"tokens_per_day": -1}, "limits.tokens_per_day"),
    ({"tokens_per_day": 10**10 + 1}, "limits.tokens_per_day"),
    ({"tokens_per_day": 1.5}, "limits.tokens_per_day"),
    ({"tokens_per_day": True}, "limits.tokens_per_day"),
    ({"usd_per_month": 9_000_001}, "limits.usd_per_month"),
    ({"usd_per_month": 10**400}, "limits.usd_per_month"),
    ({"tokens_per_dya": 1}, "limits.tokens_per_dya"),
    ({"by_model": {"big": {"tokens_per_dya": 1}}}, "limits.by_model.big.tokens_per_dya"),
    ({"by_model": {"big": 7}}, "limits.by_model.big"),
    ({"by_model": {"": {}}}, "limits.by_model"),
    ({"by_model": {f"m{n}": {} for n in range(101)}}, "limits.by_model"),
    ({"by_endpoint": {"embeddings": {}}}, "limits.by_endpoint"),
    ({"burst": 1.5}, "limits.burst"),
)


async def test_limits_that_cannot_be_name_the_place(instance, by):
    for limits, param in IMPOSSIBLE:
        with pytest.raises(RequestError) as caught:
            await instance.changes.create_organisation(NewOrganisation(name="acme", limits=limits), by=by)
        assert (caught.value.code, caught.value.param) == (Code.INVALID_REQUEST, param)


async def test_tier_limits_of_models_are_kept_and_changed(instance, by):
    made = await instance.changes.create_tier(GOLD, by=by)
    assert made.config == GOLD
    changed = await instance.changes.update_tier("gold", {"by_model": {"small": {"concurrent": 1}}}, by=by)
    assert changed.config.by_model == {"small": LimitsConfig(concurrent=1)}
    assert changed.config.by_endpoint == GOLD.by_endpoint
    assert (
        await _code(instance.changes.update_tier("gold", {"by_model": {"s": {"x": 1}}}, by=by)) is Code.INVALID_REQUEST
    )


async def test_a_user_made_in_an_organisation_has_its_limits_at_once(instance, by):
    await instance.changes.create_organisation(NewOrganisation(name="acme", limits={"concurrent": 1}), by=by)
    user = await instance.changes.create_user(NewUser(name="x", tier="free", organisation="acme"), by=by)
    assert (await instance.directory.entitled(user.id)).entitlement.organisation.values == {"concurrent": 1}


async def _give(instance, user, *rows):
    await instance.postgres.executemany(
        "INSERT INTO top_ups (id, user_id, tokens, usd, expires_at, withdrawn_at, reason, created_by) "
        "VALUES ($1, $2, $3, $4, $5, $6, 'gift', 'x')",
        [(name, user.id, tokens, usd, expires, withdrawn) for name, tokens, usd, expires, withdrawn in rows],
    )


async def _code(attempt):
    with pytest.raises(RequestError) as caught:
        await attempt
    return caught.value.code
