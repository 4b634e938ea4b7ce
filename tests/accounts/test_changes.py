import asyncio
from datetime import datetime, timedelta

import asyncpg
import pytest

from citadel_edge.accounts import reads
from citadel_edge.accounts.api_keys import NewApiKey
from citadel_edge.accounts.audit import AuditFilter
from citadel_edge.accounts.organisations import NewOrganisation, OrganisationPatch
from citadel_edge.accounts.reads import PageRequest
from citadel_edge.accounts.users import NewUser, UserPatch, UserState
from citadel_edge.config.limits import LimitsConfig
from citadel_edge.config.shape import OnRedisDown, TierConfig
from citadel_edge.errors import Code, RequestError


async def test_organisations_are_made_changed_and_deleted(instance, by):
    made = await instance.changes.create_organisation(NewOrganisation(name="acme", time_zone="Europe/Berlin"), by=by)
    assert await reads.get_organisation(instance.postgres, made.id) == made
    changed = await instance.changes.update_organisation(made.id, OrganisationPatch(name="acme 2"), by=by, version=1)
    assert (changed.name, changed.time_zone, changed.version) == ("acme 2", "Europe/Berlin", 2)
    await instance.changes.delete_organisation(made.id, by=by, version=2)
    assert await _code(reads.get_organisation(instance.postgres, made.id)) is Code.NOT_FOUND


async def test_tiers_are_made_changed_and_deleted(instance, by):
    config = TierConfig(
        name="gold",
        requests_per_minute=0,
        usd_per_month=1.5,
        models=("a", "b"),
        on_redis_down=OnRedisDown(spend="open"),
    )
    made = await instance.changes.create_tier(config, by=by)
    assert made.config == config
    assert await reads.get_tier(instance.postgres, "gold") == made
    fields = {"requests_per_minute": None, "burst": 0.5, "on_redis_down": {"requests": "closed", "spend": "closed"}}
    changed = await instance.changes.update_tier("gold", fields, by=by, version=1)
    assert (changed.config.requests_per_minute, changed.config.burst, changed.version) == (None, 0.5, 2)
    assert changed.config.on_redis_down == OnRedisDown(requests="closed", spend="closed")
    assert changed.config.models == ("a", "b")
    await instance.changes.delete_tier("gold", by=by)
    assert await _code(reads.get_tier(instance.postgres, "gold")) is Code.NOT_FOUND


async def test_users_are_made_changed_and_deleted_with_their_keys(instance, by):
    organisation = await instance.changes.create_organisation(NewOrganisation(name="acme"), by=by)
    user = await instance.changes.create_user(NewUser(name="ada", tier="unlimited", organisation="acme"), by=by)
    assert user.organisation_id == organisation.id
    assert await reads.get_user(instance.postgres, user.id) == user
    made = await instance.changes.create_key(user.id, NewApiKey(name="laptop"), env="test", by=by)
    changed = await instance.changes.update_user(user.id, UserPatch(role="operator", name="ada l."), by=by, version=1)
    assert (changed.role, changed.name, changed.tier, changed.version) == ("operator", "ada l.", "unlimited", 2)
    await instance.changes.delete_user(user.id, by=by)
    assert await _code(reads.get_user(instance.postgres, user.id)) is Code.NOT_FOUND
    assert await _code(reads.get_key(instance.postgres, user.id, made.key.id)) is Code.NOT_FOUND


IMPOSSIBLE_USERS = (
    (NewUser(name="x", tier="nosuch"), "tier"),
    (NewUser(name="x", tier="unlimited", organisation="nosuch"), "organisation"),
    (NewUser(name="x", tier="unlimited", role="king"), "role"),
    (NewUser(name="", tier="unlimited"), "name"),
    (NewUser(name=" x", tier="unlimited"), "name"),
    (NewUser(name="x\ny", tier="unlimited"), "name"),
    (NewUser(name="x" * 129, tier="unlimited"), "name"),
)


async def test_a_user_that_cannot_be_names_the_field_and_changes_nothing(instance, by):
    before = await _audited(instance)
    for new, param in IMPOSSIBLE_USERS:
        with pytest.raises(RequestError) as caught:
            await instance.changes.create_user(new, by=by)
        assert (caught.value.code, caught.value.param) == (Code.INVALID_REQUEST, param)
    assert await _audited(instance) == before


async def test_other_values_that_cannot_be_are_said_too(instance, by):
    changes = instance.changes
    user, _ = await instance.user_with_key()
    past, naive = instance.clock.now() - timedelta(days=1), datetime(2999, 1, 1)  # noqa: DTZ001 - naive on purpose
    for attempt, param in (
        (changes.create_organisation(NewOrganisation(name="x", time_zone="Mars/Base"), by=by), "time_zone"),
        (changes.create_organisation(NewOrganisation(name="x", time_zone="../../etc/passwd"), by=by), "time_zone"),
        (changes.update_tier("unlimited", {"burst": 5}, by=by), "burst"),
        (changes.update_tier("unlimited", {"name": "other"}, by=by), "name"),
        (changes.create_tier(TierConfig(name="x", priority=1000), by=by), "priority"),
        (changes.create_tier(TierConfig(name="x", tokens_per_day=2**70), by=by), "tokens_per_day"),
        (changes.create_user(NewUser(name="x", tier="\0"), by=by), None),
        (changes.create_key(user.id, NewApiKey(expires_at=past), env="test", by=by), "expires_at"),
        (changes.create_key(user.id, NewApiKey(expires_at=naive), env="test", by=by), "expires_at"),
        (changes.rotate_key(user.id, "key_x", env="test", overlap_s=-1, by=by), "overlap_s"),
        (changes.rotate_key(user.id, "key_x", env="test", overlap_s=float("nan"), by=by), "overlap_s"),
        (reads.get_user(instance.postgres, "\0"), "id"),
        (reads.get_tier(instance.postgres, "\ud800"), "tier"),
    ):
        with pytest.raises(RequestError) as caught:
            await attempt
        assert (caught.value.code, caught.value.param) == (Code.INVALID_REQUEST, param)


async def test_names_are_taken_once(instance, by):
    await instance.user_with_key("ada")
    assert await _code(instance.changes.create_user(NewUser(name="ada", tier="unlimited"), by=by)) is Code.CONFLICT
    await instance.changes.create_organisation(NewOrganisation(name="acme"), by=by)
    assert await _code(instance.changes.create_organisation(NewOrganisation(name="acme"), by=by)) is Code.CONFLICT
    assert await _code(instance.changes.create_tier(TierConfig(name="unlimited"), by=by)) is Code.CONFLICT
    elsewhere = NewUser(name="ada", tier="unlimited", organisation="acme")
    assert (await instance.changes.create_user(elsewhere, by=by)).name == "ada"


async def test_what_is_in_use_is_not_deleted(instance, by):
    user, _ = await instance.user_with_key()
    assert await _code(instance.changes.delete_tier("unlimited", by=by)) is Code.CONFLICT
    assert await _code(instance.changes.delete_organisation(user.organisation_id, by=by)) is Code.CONFLICT


async def test_a_stale_version_is_412_and_of_two_at_once_one_wins(instance, by):
    user, _ = await instance.user_with_key()
    attempts = [instance.changes.update_user(user.id, UserPatch(name=f"n{n}"), by=by, version=1) for n in range(4)]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    stale = [result for result in results if isinstance(result, RequestError)]
    assert [error.code for error in stale] == [Code.STALE] * 3
    assert (await reads.get_user(instance.postgres, user.id)).version == 2


async def test_what_is_not_there_cannot_be_changed(instance, by):
    for attempt in (
        instance.changes.update_organisation("org_x", OrganisationPatch(), by=by),
        instance.changes.delete_organisation("org_x", by=by),
        instance.changes.update_tier("nosuch", {}, by=by),
        instance.changes.delete_tier("nosuch", by=by),
        instance.changes.update_user("usr_x", UserPatch(), by=by),
        instance.changes.delete_user("usr_x", by=by),
        instance.changes.create_key("usr_x", NewApiKey(), env="test", by=by),
        instance.changes.revoke_key("usr_x", "key_x", by=by),
        instance.changes.rotate_key("usr_x", "key_x", env="test", overlap_s=0, by=by),
    ):
        assert await _code(attempt) is Code.NOT_FOUND


async def test_a_key_of_another_user_is_not_there(instance, by):
    _, made = await instance.user_with_key("ada")
    other, _ = await instance.user_with_key("bob")
    assert await _code(instance.changes.revoke_key(other.id, made.key.id, by=by)) is Code.NOT_FOUND
    assert await _code(reads.get_key(instance.postgres, other.id, made.key.id)) is Code.NOT_FOUND


async def test_the_database_holds_no_key(instance):
    _, made = await instance.user_with_key()
    rows = await instance.postgres.fetch("SELECT to_jsonb(api_keys) AS row FROM api_keys")
    trail = await instance.postgres.fetch("SELECT to_jsonb(audit) AS row FROM audit")
    secret = made.text[-49:-6]
    assert secret not in str([row["row"] for row in (*rows, *trail)])
    assert "hash" not in str([row["row"] for row in trail])


async def test_rotation_overlaps_then_ends_the_old_key(instance, by):
    user, made = await instance.user_with_key()
    new = await instance.changes.rotate_key(user.id, made.key.id, env="test", overlap_s=60, by=by)
    old = await reads.get_key(instance.postgres, user.id, made.key.id)
    assert old.replaced_by == new.key.id
    assert 0 < (old.expires_at - instance.clock.now()).total_seconds() <= 60
    for text in (made.text, new.text):
        assert (await instance.directory.authenticate(text)).user_id == user.id
    again = instance.changes.rotate_key(user.id, made.key.id, env="test", overlap_s=60, by=by)
    assert await _code(again) is Code.CONFLICT


async def test_rotation_without_overlap_ends_the_old_key_at_once(instance, by):
    user, made = await instance.user_with_key()
    await instance.directory.authenticate(made.text)
    new = await instance.changes.rotate_key(user.id, made.key.id, env="test", overlap_s=0, by=by)
    assert await _code(instance.directory.authenticate(made.text)) is Code.INVALID_API_KEY
    assert await instance.directory.authenticate(new.text)
    ended = instance.changes.rotate_key(user.id, made.key.id, env="test", overlap_s=0, by=by)
    assert await _code(ended) is Code.CONFLICT


async def test_an_overlap_never_prolongs_a_key(instance, by):
    soon = instance.clock.now() + timedelta(seconds=100)
    user, made = await instance.user_with_key(expires_at=soon)
    new = await instance.changes.rotate_key(user.id, made.key.id, env="test", overlap_s=5000, by=by)
    old = await reads.get_key(instance.postgres, user.id, made.key.id)
    assert abs((old.expires_at - soon).total_seconds()) < 0.001
    assert new.key.expires_at == old.expires_at


async def test_revoking_twice_is_once(instance, by):
    user, made = await instance.user_with_key()
    first = await instance.changes.revoke_key(user.id, made.key.id, by=by)
    before = await _audited(instance)
    assert await instance.changes.revoke_key(user.id, made.key.id, by=by) == first
    assert await _audited(instance) == before


async def test_what_changes_nothing_raises_no_version_and_leaves_no_line(instance, by):
    changes = instance.changes
    organisation = await changes.create_organisation(NewOrganisation(name="acme", limits={"concurrent": 2}), by=by)
    config = TierConfig(name="gold", usd_per_month=0.1, models=("a",), by_model={"m": LimitsConfig(concurrent=3)})
    tier = await changes.create_tier(config, by=by)
    user = await changes.create_user(NewUser(name="ada", tier="gold", organisation="acme"), by=by)
    quota = await changes.set_overrides(user.id, {"by_model": {"m": {"concurrent": 1}}, "concurrent": None}, by=by)
    lines = await _audited(instance)
    same = OrganisationPatch(name="acme", time_zone="UTC", limits={"concurrent": 2})
    for patch in (OrganisationPatch(), same):
        assert await changes.update_organisation(organisation.id, patch, by=by, version=1) == organisation
    fields = {"usd_per_month": 0.1, "models": ["a"], "by_model": {"m": {"concurrent": 3}}, "on_redis_down": {}}
    for named in ({}, fields):
        assert await changes.update_tier("gold", named, by=by, version=1) == tier
    for wanted in (
        UserPatch(),
        UserPatch(name="ada", tier="gold", organisation="acme", role="user", state=UserState.ACTIVE),
    ):
        assert await changes.update_user(user.id, wanted, by=by, version=1) == user
    again = {"concurrent": None, "by_model": {"m": {"concurrent": 1}}}
    assert await changes.set_overrides(user.id, again, by=by, version=quota.version) == quota
    assert await _code(changes.update_user(user.id, UserPatch(), by=by, version=7)) is Code.STALE
    assert await _audited(instance) == lines


async def test_every_change_leaves_its_line_and_nobody_changes_a_line(instance, by):
    user, _ = await instance.user_with_key()
    await instance.changes.update_user(user.id, UserPatch(name="ada l."), by=by)
    entries = (await reads.list_audit(instance.postgres, PageRequest(), AuditFilter(subject=user.id))).data
    assert [entry.action for entry in entries] == ["update_user", "create_user"]
    last = entries[0]
    assert (last.who, last.key_id, last.request_id) == (by.who, by.key_id, by.request_id)
    assert (last.before["name"], last.after["name"]) == ("ada", "ada l.")
    for statement in ("UPDATE audit SET who = 'x'", "DELETE FROM audit", "TRUNCATE audit"):
        with pytest.raises(asyncpg.RaiseError, match="append-only"):
            await instance.postgres.execute(statement)


async def test_a_change_is_made_while_redis_is_away(open_instance, migrated_dsn, tmp_path, by):
    async with open_instance(migrated_dsn, f"unix://{tmp_path}/none.sock") as opened:
        made = await opened.changes.create_organisation(NewOrganisation(name="acme"), by=by)
        changed = await opened.changes.update_organisation(made.id, OrganisationPatch(name="b"), by=by)
        assert changed.version == 2


async def _audited(instance):
    return await instance.postgres.fetchval("SELECT count(*) FROM audit")


async def _code(attempt):
    with pytest.raises(RequestError) as caught:
        await attempt
    return caught.value.code
