import asyncio
import time
from datetime import timedelta

import pytest

from citadel_edge.accounts import reads
from citadel_edge.accounts.keys import crc, make, parse
from citadel_edge.accounts.news import Subject
from citadel_edge.accounts.principal import Role
from citadel_edge.accounts.users import UserPatch, UserState
from citadel_edge.errors import Code, RequestError
from citadel_edge.telemetry.ids import uuid7

STRANGER_SECRET = b"\x07" * 32
TOLD_S = 1.0 * 5
"""The promise is one second; a busy machine gets five."""


async def test_a_key_is_its_owner_first_by_query_then_by_memory(instance):
    user, made = await instance.user_with_key("ada")
    assert instance.directory.lookup(made.text) is None
    principal = await instance.directory.authenticate(made.text)
    assert (principal.user_id, principal.key_id, principal.name) == (user.id, made.key.id, "ada")
    assert (principal.role, principal.tier, principal.models) == (Role.USER, "unlimited", ("*",))
    assert principal.organisation_id == user.organisation_id
    assert instance.directory.lookup(made.text) is principal


async def test_no_message_tells_whether_id_or_secret_was_wrong(instance):
    _, made = await instance.user_with_key()
    uuid = uuid7(instance.clock)
    unknown_id = make("test", uuid, STRANGER_SECRET).text
    wrong_secret = _with_secret_of(made.text, unknown_id)
    messages = {await _refusal(instance, text) for text in (unknown_id, wrong_secret, "nonsense", "", made.text[:-1])}
    assert len(messages) == 1
    await instance.directory.authenticate(made.text)
    assert await _refusal(instance, wrong_secret) in messages, "also when the id is remembered"


async def test_a_refusal_is_401_with_a_challenge(instance):
    with pytest.raises(RequestError) as caught:
        await instance.directory.authenticate("cit_dev_none")
    assert caught.value.code is Code.INVALID_API_KEY
    assert caught.value.headers == {"WWW-Authenticate": "Bearer"}


async def test_odd_texts_are_refused(instance):
    for text in ("\udcff\ud800", "é" * 80, "cit_" * 5000, "\0"):
        assert instance.directory.lookup(text) is None
        await _refusal(instance, text)


async def test_many_who_ask_for_one_key_ask_once_and_a_cancelled_first_harms_nobody(instance):
    _, made = await instance.user_with_key()
    before = await _lookups(instance)
    calls = [asyncio.ensure_future(instance.directory.authenticate(made.text)) for _ in range(100)]  # noqa: TID251
    await asyncio.sleep(0)
    calls[0].cancel()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert {answer.key_id for answer in answers[1:]} == {made.key.id}
    assert instance.directory._keys._loader._flights == {}
    assert await _lookups(instance) - before <= 3


async def test_unknown_ids_are_remembered_too_until_a_moment_has_passed(instance):
    text = make("test", uuid7(instance.clock), STRANGER_SECRET).text
    await _refusal(instance, text)
    assert instance.directory._keys.records.is_absent(parse(text).id, instance.clock.monotonic_s())
    instance.clock.ahead[0] += 11
    assert not instance.directory._keys.records.is_absent(parse(text).id, instance.clock.monotonic_s())


async def test_a_revoked_key_is_refused_here_at_once_and_its_streams_are_told(instance, by):
    user, made = await instance.user_with_key()
    principal = await instance.directory.authenticate(made.text)
    told = []
    instance.directory.on_news(told.append)
    await instance.changes.revoke_key(user.id, made.key.id, by=by)
    assert instance.directory.lookup(made.text) is None
    assert "revoked" in await _refusal(instance, made.text)
    assert any(news is not None and news.ends(principal) for news in told)


@pytest.mark.parametrize("deaf_to", ["redis", "postgres"])
async def test_a_revocation_reaches_another_instance_by_either_way(instance, open_twin, by, deaf_to):
    async with open_twin() as other:
        await other.hears()
        user, made = await instance.user_with_key()
        principal = await other.directory.authenticate(made.text)
        told = []
        other.directory.on_news(told.append)
        if deaf_to == "redis":
            await instance.postgres.execute("UPDATE api_keys SET revoked_at = now() WHERE id = $1", made.key.id)
        else:
            await instance.redis.publish("citadel:accounts", f"ended key {made.key.id}")
            await instance.postgres.execute("ALTER TABLE api_keys DISABLE TRIGGER USER")
            await instance.changes.revoke_key(user.id, made.key.id, by=by)
        started = time.monotonic()
        async with asyncio.timeout(TOLD_S):
            while other.directory.lookup(made.text) is not None or not told:
                await asyncio.sleep(0.005)
        assert time.monotonic() - started < TOLD_S
        assert told[0].ends(principal)
        await _refusal(other, made.text)


async def test_suspending_is_403_and_lifting_it_lets_in_again(instance, by):
    user, made = await instance.user_with_key()
    await instance.directory.authenticate(made.text)
    await instance.changes.update_user(user.id, UserPatch(state=UserState.SUSPENDED), by=by)
    with pytest.raises(RequestError) as caught:
        await instance.directory.authenticate(made.text)
    assert caught.value.code is Code.SUSPENDED
    stranger = make("test", uuid7(instance.clock), STRANGER_SECRET).text
    await _refusal(instance, _with_secret_of(made.text, stranger))  # who lacks the secret learns nothing of the user
    await instance.changes.update_user(user.id, UserPatch(state=UserState.ACTIVE), by=by)
    assert (await instance.directory.authenticate(made.text)).user_id == user.id


async def test_a_deleted_user_and_a_changed_tier_are_heard(instance, by):
    user, made = await instance.user_with_key()
    await instance.directory.authenticate(made.text)
    await instance.changes.update_tier("unlimited", {"models": ("only-this",)}, by=by)
    assert (await instance.directory.authenticate(made.text)).models == ("only-this",)
    await instance.changes.delete_user(user.id, by=by)
    await _refusal(instance, made.text)


async def test_an_expired_key_is_refused_from_memory_too(instance):
    soon = instance.clock.now() + timedelta(seconds=1.5)
    _, made = await instance.user_with_key(expires_at=soon)
    assert await instance.directory.authenticate(made.text)
    await asyncio.sleep(max(0.0, (soon - instance.clock.now()).total_seconds()))
    assert instance.directory.lookup(made.text) is None
    assert "expired" in await _refusal(instance, made.text)


async def test_use_is_written_down_behind_the_requests(instance):
    user, made = await instance.user_with_key()
    await instance.directory.authenticate(made.text)
    assert (await reads.get_key(instance.postgres, user.id, made.key.id)).last_used_at is None
    await instance.directory._last_used.write()
    first = (await reads.get_key(instance.postgres, user.id, made.key.id)).last_used_at
    assert abs((instance.clock.now() - first).total_seconds()) < 60
    instance.directory.lookup(made.text)
    await instance.directory._last_used.write()
    assert (await reads.get_key(instance.postgres, user.id, made.key.id)).last_used_at > first


async def test_news_that_overtake_a_query_are_not_lost(instance, by):
    user, made = await instance.user_with_key()
    for _ in range(20):
        await instance.changes.update_user(user.id, UserPatch(state=UserState.ACTIVE), by=by)
        asking = asyncio.ensure_future(instance.directory.authenticate(made.text))  # noqa: TID251 - awaited below
        suspending = instance.changes.update_user(user.id, UserPatch(state=UserState.SUSPENDED), by=by)
        await asyncio.gather(asking, suspending, return_exceptions=True)
        assert instance.directory.lookup(made.text) is None


async def test_a_lookup_from_memory_takes_microseconds(instance):
    _, made = await instance.user_with_key()
    await instance.directory.authenticate(made.text)
    lookup, text = instance.directory.lookup, made.text
    started = time.process_time()
    for _ in range(5000):
        lookup(text)
    assert (time.process_time() - started) / 5000 < 500e-6


async def test_no_key_stands_in_memory(instance):
    _, made = await instance.user_with_key()
    await instance.directory.authenticate(made.text)
    secret = parse(made.text).secret
    for held in (instance.directory._keys.records._records, instance.directory._keys.records._proven):
        assert secret not in repr(held)


async def test_the_news_of_a_key_name_it(instance, by):
    user, made = await instance.user_with_key()
    told = []
    instance.directory.on_news(told.append)
    await instance.changes.rotate_key(user.id, made.key.id, env="test", overlap_s=0, by=by)
    assert (told[0].subject, told[0].id) == (Subject.KEY, made.key.id)


@pytest.fixture
def open_twin(open_instance, migrated_dsn, redis_url):
    """Opens another instance on the same servers."""
    return lambda: open_instance(migrated_dsn, redis_url)


async def _refusal(instance, text):
    with pytest.raises(RequestError) as caught:
        await instance.directory.authenticate(text)
    assert caught.value.code is Code.INVALID_API_KEY
    return caught.value.message


async def _lookups(instance):
    await instance.postgres.execute("SELECT pg_stat_force_next_flush()")
    return await instance.postgres.fetchval(
        "SELECT coalesce(idx_scan, 0) FROM pg_stat_user_tables WHERE relname = 'tiers'"
    )


def _with_secret_of(key, other):
    """The first key's id with the second's secret, and the check digits that belong to them."""
    rest = key[:-49] + other[-49:-6]
    return rest + crc(rest)
