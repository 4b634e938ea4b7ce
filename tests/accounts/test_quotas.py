"""Overrides and top-ups: how they are changed, what is refused, and what a change leaves behind."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from citadel_edge.accounts import reads
from citadel_edge.accounts.audit import AuditFilter
from citadel_edge.accounts.entitlement import TopUp
from citadel_edge.accounts.organisations import NewOrganisation, OrganisationPatch
from citadel_edge.accounts.pages import PageRequest
from citadel_edge.accounts.top_ups import MOST, NewTopUp
from citadel_edge.errors import Code, RequestError


async def test_overrides_are_replaced_as_a_whole(instance, by):
    user, _ = await instance.user_with_key(tier="free")
    changes, first = (
        instance.changes,
        {"tokens_per_day": 5, "usd_per_month": None, "by_model": {"m": {"concurrent": 1}}},
    )
    assert (await reads.get_quota(instance.postgres, user.id)).version == 0
    made = await changes.set_overrides(user.id, first, by=by, version=0)
    assert (made.overrides, made.version) == (first, 1)
    changed = await changes.set_overrides(user.id, {"concurrent": 0}, by=by, version=1)
    assert (changed.overrides, changed.version) == ({"concurrent": 0}, 2)
    assert await reads.get_quota(instance.postgres, user.id) == changed
    entitled = (await instance.directory.entitled(user.id)).entitlement
    assert entitled.overrides.values == {"concurrent": 0}


async def test_of_changes_at_once_each_sees_the_one_before(instance, by):
    user, _ = await instance.user_with_key()
    attempts = [instance.changes.set_overrides(user.id, {"concurrent": n}, by=by, version=0) for n in range(5)]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["Quota"] + ["RequestError"] * 4
    assert {error.code for error in results if isinstance(error, RequestError)} == {Code.STALE}
    attempts = [instance.changes.set_overrides(user.id, {"concurrent": n}, by=by) for n in range(5, 10)]
    assert sorted(quota.version for quota in await asyncio.gather(*attempts)) == [2, 3, 4, 5, 6]


async def test_overrides_that_cannot_be_change_nothing(instance, by):
    user, _ = await instance.user_with_key()
    for overrides, param in (
        ({"tokens_per_day": -1}, "overrides.tokens_per_day"),
        ({"burst": 0.5}, "overrides.burst"),
        ({"by_endpoint": {"/v1/embeddings": {"concurrent": "1"}}}, "overrides.by_endpoint./v1/embeddings.concurrent"),
    ):
        with pytest.raises(RequestError) as caught:
            await instance.changes.set_overrides(user.id, overrides, by=by)
        assert (caught.value.code, caught.value.param) == (Code.INVALID_REQUEST, param)
    assert (await reads.get_quota(instance.postgres, user.id)).version == 0
    assert await _code(instance.changes.set_overrides("usr_x", {}, by=by)) is Code.NOT_FOUND


async def test_a_top_up_is_given_listed_and_taken_back(instance, by):
    user, _ = await instance.user_with_key()
    soon = datetime(2999, 1, 1, tzinfo=UTC)
    tokens = await instance.changes.create_top_up(user.id, NewTopUp(reason="sorry", tokens=5, expires_at=soon), by=by)
    dollars = await instance.changes.create_top_up(user.id, NewTopUp(reason="a gift", usd=0.1), by=by)
    assert (tokens.tokens, tokens.usd, tokens.expires_at, tokens.created_by) == (5, None, soon, by.who)
    assert (dollars.tokens, dollars.usd, dollars.expires_at) == (None, 0.1, None)
    listed = await reads.list_top_ups(instance.postgres, user.id, PageRequest(limit=1))
    rest = await reads.list_top_ups(instance.postgres, user.id, PageRequest(after=listed.next))
    assert (*listed.data, *rest.data) == (tokens, dollars)
    await instance.changes.delete_top_up(user.id, tokens.id, by=by)
    assert (await reads.list_top_ups(instance.postgres, user.id, PageRequest())).data == (dollars,)
    assert await reads.counting_top_ups(instance.postgres, user.id) == (dollars,)
    assert await _code(instance.changes.delete_top_up(user.id, tokens.id, by=by)) is Code.NOT_FOUND
    entitled = (await instance.directory.entitled(user.id)).entitlement
    now_s = instance.clock.unix_s()
    gone, left = sorted(entitled.top_ups, key=lambda top_up: top_up.nano_usd)
    assert (gone.tokens, gone.expires_unix_s <= now_s) == (5, True), "what was used of it stays balanced"
    assert left == TopUp(nano_usd=100_000_000)


IMPOSSIBLE = (
    ({}, "usd"),
    ({"tokens": 1, "usd": 1.0}, "tokens"),
    ({"tokens": 0}, "tokens"),
    ({"tokens": 10**10 + 1}, "tokens"),
    ({"usd": 0.0}, "usd"),
    ({"usd": -0.5}, "usd"),
    ({"usd": 4_000_000.1}, "usd"),
    ({"usd": 1e-10}, "usd"),
    ({"usd": float("nan")}, "usd"),
    ({"usd": float("inf")}, "usd"),
    ({"tokens": 1, "reason": ""}, "reason"),
    ({"tokens": 1, "reason": "x" * 501}, "reason"),
    ({"tokens": 1, "reason": "a\nb"}, "reason"),
    ({"tokens": 1, "expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, "expires_at"),
    ({"tokens": 1, "expires_at": datetime(2999, 1, 1)}, "expires_at"),  # noqa: DTZ001 - naive on purpose
)


async def test_a_top_up_that_cannot_be_names_its_field(instance, by):
    user, _ = await instance.user_with_key()
    for fields, param in IMPOSSIBLE:
        with pytest.raises(RequestError) as caught:
            await instance.changes.create_top_up(user.id, NewTopUp(**{"reason": "x", **fields}), by=by)
        assert (caught.value.code, caught.value.param) == (Code.INVALID_REQUEST, param)
    assert await reads.counting_top_ups(instance.postgres, user.id) == ()


async def test_what_counts_of_top_ups_at_a_time_is_bounded(instance, by):
    user, _ = await instance.user_with_key()
    give = instance.changes.create_top_up
    await give(user.id, NewTopUp(reason="x", tokens=10**10 - 1), by=by)
    assert await _code(give(user.id, NewTopUp(reason="x", tokens=2), by=by)) is Code.CONFLICT
    await give(user.id, NewTopUp(reason="x", usd=3_999_999.5), by=by)
    assert await _code(give(user.id, NewTopUp(reason="x", usd=1.0), by=by)) is Code.CONFLICT
    await instance.postgres.execute(
        "INSERT INTO top_ups (id, user_id, usd, reason, created_by) "
        "SELECT 'top_' || n, $1, 0.000001, 'x', 'x' FROM generate_series(1, $2) AS n",
        user.id,
        MOST - 2,
    )
    assert await _code(give(user.id, NewTopUp(reason="x", tokens=1), by=by)) is Code.CONFLICT


async def test_every_change_of_a_quota_leaves_its_line(instance, by):
    user, _ = await instance.user_with_key()
    await instance.changes.set_overrides(user.id, {"concurrent": 1}, by=by)
    await instance.changes.set_overrides(user.id, {"concurrent": 2}, by=by)
    given = await instance.changes.create_top_up(user.id, NewTopUp(reason="sorry", usd=0.25), by=by)
    await instance.changes.delete_top_up(user.id, given.id, by=by)
    trail = (await reads.list_audit(instance.postgres, PageRequest(), AuditFilter(subject=user.id))).data
    taken, gave, second, first = trail[:4]
    assert [line.action for line in trail[:4]] == ["delete_top_up", "create_top_up", "override_quota", "override_quota"]
    assert {line.who for line in trail[:4]} == {by.who}
    assert (first.before["overrides"], first.after["overrides"]) == ({}, {"concurrent": 1})
    assert (second.before["overrides"], second.after["overrides"]) == ({"concurrent": 1}, {"concurrent": 2})
    assert (gave.before, gave.after["usd"], gave.after["reason"]) == (None, 0.25, "sorry")
    assert (taken.before["withdrawn_at"], taken.after["withdrawn_at"] is not None) == (None, True)


async def test_limits_of_tiers_and_organisations_stand_in_the_trail_as_objects(instance, by):
    sheet = {"concurrent": 1, "by_model": {"m": {"tokens_per_day": 2}}}
    made = await instance.changes.create_organisation(NewOrganisation(name="acme", limits=sheet), by=by)
    await instance.changes.update_organisation(made.id, OrganisationPatch(limits={}), by=by)
    await instance.changes.update_tier("free", {"by_model": {"m": {"concurrent": 3}}}, by=by)
    trail = (await reads.list_audit(instance.postgres, PageRequest(limit=3))).data
    tier, second, first = trail
    assert (first.after["limits"], second.before["limits"], second.after["limits"]) == (sheet, sheet, {})
    assert (tier.before["by_model"], tier.after["by_model"]) == ({}, {"m": {"concurrent": 3}})


async def test_a_deleted_user_takes_overrides_and_top_ups_along(instance, by):
    user, _ = await instance.user_with_key()
    await instance.changes.set_overrides(user.id, {"concurrent": 1}, by=by)
    await instance.changes.create_top_up(user.id, NewTopUp(reason="x", tokens=1), by=by)
    await instance.changes.delete_user(user.id, by=by)
    for table in ("quotas", "top_ups"):
        assert await instance.postgres.fetchval(f"SELECT count(*) FROM {table}") == 0
    assert await _code(reads.get_quota(instance.postgres, user.id)) is Code.NOT_FOUND
    assert await _code(reads.list_top_ups(instance.postgres, user.id, PageRequest())) is Code.NOT_FOUND


async def test_a_quota_changed_while_its_user_is_deleted_is_gone_or_refused(instance, by):
    for number in range(5):
        user, _ = await instance.user_with_key(f"u{number}")
        results = await asyncio.gather(
            instance.changes.set_overrides(user.id, {"concurrent": 1}, by=by),
            instance.changes.create_top_up(user.id, NewTopUp(reason="x", tokens=1), by=by),
            instance.changes.delete_user(user.id, by=by),
            instance.changes.create_top_up(user.id, NewTopUp(reason="x", usd=1.0), by=by),
            return_exceptions=True,
        )
        assert {error.code for error in results if isinstance(error, Exception)} <= {Code.NOT_FOUND}
        assert await _code(instance.directory.entitled(user.id)) is Code.NOT_FOUND
    assert await instance.postgres.fetchval("SELECT count(*) FROM top_ups") == 0


async def test_a_top_up_ends_by_itself(instance, by):
    user, _ = await instance.user_with_key()
    soon = instance.clock.now() + timedelta(milliseconds=300)
    await instance.changes.create_top_up(user.id, NewTopUp(reason="x", tokens=1, expires_at=soon), by=by)
    assert len(await reads.counting_top_ups(instance.postgres, user.id)) == 1
    await asyncio.sleep(0.4)
    assert await reads.counting_top_ups(instance.postgres, user.id) == ()
    assert len((await reads.list_top_ups(instance.postgres, user.id, PageRequest())).data) == 1


async def _code(attempt):
    with pytest.raises(RequestError) as caught:
        await attempt
    return caught.value.code
