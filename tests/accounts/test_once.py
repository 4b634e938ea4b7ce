"""Creates that are sent twice: made once, in one transaction with what they made."""

import asyncio

import pytest

from citadel_edge.accounts import reads
from citadel_edge.accounts.once import Answer, Create, Replay, checked_key
from citadel_edge.accounts.organisations import NewOrganisation
from citadel_edge.accounts.reads import PageRequest
from citadel_edge.accounts.users import NewUser
from citadel_edge.errors import Code, RequestError


def create(key="k", body=b'{"name": "acme"}', caller="usr_1", path="/v1/organisations"):
    return Create.of(caller=caller, path=path, key=key, body=body)


def making(by, name="acme"):
    async def make(changes):
        made = await changes.create_organisation(NewOrganisation(name=name), by=by)
        return Answer(status=201, body=made.id, version=made.version), made

    return make


async def names(instance):
    return sorted(one.name for one in (await reads.list_organisations(instance.postgres, PageRequest())).data)


async def test_the_second_is_answered_what_the_first_made(instance, by):
    made = await instance.changes.once(create(), making(by), by=by)
    replay = await instance.changes.once(create(), making(by, "never made"), by=by)
    assert replay == Replay(Answer(status=201, body=made.id, version=1))
    assert await names(instance) == ["acme", "default"]


async def test_of_many_at_once_on_two_instances_one_makes_it(instance, open_instance, migrated_dsn, redis_url, by):
    async with open_instance(migrated_dsn, redis_url) as other:
        attempts = [each.changes.once(create(), making(by), by=by) for each in (instance, other) * 5]
        results = await asyncio.gather(*attempts)
    made = [result for result in results if not isinstance(result, Replay)]
    assert len(made) == 1
    assert {result.answer.body for result in results if isinstance(result, Replay)} == {made[0].id}
    assert await names(instance) == ["acme", "default"]


async def test_caller_path_and_key_tell_creates_apart(instance, by):
    await instance.changes.once(create(), making(by, "a"), by=by)
    for name, other in (
        ("b", create(key="other")),
        ("c", create(caller="usr_2")),
        ("d", create(path="/v1/tiers")),
    ):
        assert (await instance.changes.once(other, making(by, name), by=by)).name == name


async def test_another_body_is_a_mismatch_and_the_same_in_other_order_is_none(instance, by):
    await instance.changes.once(create(body=b'{"name": "acme", "limits": {"a": 1, "b": 2}}'), making(by), by=by)
    with pytest.raises(RequestError) as caught:
        await instance.changes.once(create(body=b'{"name": "other"}'), making(by, "other"), by=by)
    assert caught.value.code is Code.IDEMPOTENCY_MISMATCH
    same = create(body=b'{"limits":{"b":2,"a":1},"name":"acme"}')
    assert isinstance(await instance.changes.once(same, making(by), by=by), Replay)


async def test_what_failed_is_not_remembered(instance, by):
    async def fails(changes):
        await changes.create_organisation(NewOrganisation(name="half"), by=by)
        await changes.create_user(NewUser(name="x", tier="no such"), by=by)

    for _ in range(2):
        with pytest.raises(RequestError) as caught:
            await instance.changes.once(create(), fails, by=by)
        assert (caught.value.code, caught.value.param) == (Code.INVALID_REQUEST, "tier")
    assert await names(instance) == ["default"], "what it had made before is undone"
    assert (await instance.changes.once(create(), making(by), by=by)).name == "acme"


async def test_a_first_that_is_cancelled_lets_the_second_make_it(instance, by):
    began = asyncio.Event()

    async def hangs(changes):
        await changes.create_organisation(NewOrganisation(name="acme"), by=by)
        began.set()
        await asyncio.sleep(60)

    first = asyncio.ensure_future(instance.changes.once(create(), hangs, by=by))  # noqa: TID251 - cancelled below
    await began.wait()
    second = asyncio.ensure_future(instance.changes.once(create(), making(by), by=by))  # noqa: TID251 - awaited below
    await asyncio.sleep(0.1)
    first.cancel()
    assert (await second).name == "acme"
    assert await names(instance) == ["acme", "default"]


async def test_after_a_day_it_is_a_new_create(instance, by):
    await instance.changes.once(create(), making(by), by=by)
    await instance.postgres.execute("UPDATE idempotency SET created_at = now() - interval '23 hours 59 minutes'")
    assert isinstance(await instance.changes.once(create(), making(by), by=by), Replay)
    await instance.postgres.execute("UPDATE idempotency SET created_at = now() - interval '24 hours'")
    assert (await instance.changes.once(create(body=b"{}"), making(by, "new"), by=by)).name == "new"


async def test_each_that_is_remembered_takes_some_old_ones_away(instance, by):
    await instance.postgres.execute(
        "INSERT INTO idempotency (id, body_hash, status, answer, created_at) "
        "SELECT sha256(n::text::bytea), sha256(''), 201, '', now() - interval '25 hours' FROM generate_series(1, 25) n"
    )
    left = []
    for number in range(4):
        await instance.changes.once(create(key=str(number)), making(by, f"o{number}"), by=by)
        left.append(await instance.postgres.fetchval("SELECT count(*) FROM idempotency"))
    assert left == [16, 7, 3, 4]


async def test_news_of_what_was_made_inside_wait_for_its_end(instance, by):
    user, made = await instance.user_with_key()
    heard = []
    instance.directory.on_news(heard.append)

    async def make(changes):
        new = await changes.rotate_key(user.id, made.key.id, env="test", overlap_s=0, by=by)
        assert not heard
        return Answer(status=201, body="{}", version=1), new

    await instance.changes.once(create(), make, by=by)
    assert {news.id for news in heard} == {made.key.id}


@pytest.mark.parametrize("text", ["", " ", "a b", "é", "a\tb", "a" * 256, "\x7f"])
def test_what_is_no_key_is_refused(text):
    with pytest.raises(RequestError) as caught:
        checked_key(text)
    assert (caught.value.code, caught.value.param) == (Code.INVALID_REQUEST, "Idempotency-Key")


def test_a_key_may_be_any_visible_text():
    for text in ("a", "!" * 255, "01a2-x~"):
        assert checked_key(text) == text
