"""What the scripts do to the server's keys: nothing without need, nothing for ever, nothing outside of one slot."""

import pytest

from citadel_edge.limits.redis_store import RedisStore, ScriptFailed
from citadel_edge.limits.values import NOTHING, Spent, Verdict
from limits.asked import CONCURRENT, DAY, HOUR, MINUTE, NOON, ORGANISATION, RPM, SECOND, TPD, TPM, USD, limit, order

KEYS = f"citadel:limits:{{{ORGANISATION}}}:"
FIVE = (limit(RPM, 60), limit(TPM, 6000), limit(CONCURRENT, 3), limit(TPD, 10_000), limit(USD, 10**9))


class Clock:
    """Noon, until told otherwise."""

    now_ms = NOON


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def told(each_pool, clock):
    """A store at a time that is told."""
    return RedisStore(each_pool, pretended_ms=lambda: clock.now_ms)


async def changes(pool):
    """How much was ever written."""
    said = await pool.call("INFO", "persistence")
    text = said if isinstance(said, bytes) else said.encode()
    return int(text.split(b"rdb_changes_since_last_save:")[1].split(b"\r\n")[0])


async def held(store):
    answer = await store.read(order(limit(CONCURRENT, 3)))
    return answer.levels[0].amount


@pytest.mark.parametrize("over", [limit(RPM, 0), limit(TPM, 60, burst=1), limit(CONCURRENT, 0), limit(TPD, 5)])
async def test_a_denial_writes_nothing(told, each_pool, over):
    assert (await told.reserve(order(*FIVE, tokens=1))).verdict is Verdict.ADMITTED
    written = await changes(each_pool)
    limits = (*(one for one in FIVE if one.name is not over.name), over)
    assert (await told.reserve(order(*limits, tokens=50, force=False))).verdict is Verdict.DENIED
    assert (await told.read(order(*limits, tokens=50))).verdict is Verdict.DENIED
    assert await changes(each_pool) == written


async def test_all_keys_of_an_organisation_are_in_one_slot_and_none_lives_for_ever(told, each_pool):
    for ttl_ms in (30 * SECOND, 0):
        await told.reserve(order(*FIVE, limit(RPM, 60, "o"), tokens=1, ttl_ms=ttl_ms))
    keys = await each_pool.call("KEYS", "*")
    assert len(keys) == 5
    assert all(key.startswith(KEYS.encode()) for key in keys)
    assert all([await each_pool.call("PTTL", key) > DAY for key in keys])


async def test_leases_that_expired_are_free_at_once_however_many_and_held_again_when_the_clock_steps_back(told, clock):
    """Each order sees to two of those that expired; the others are not counted either."""
    many = limit(CONCURRENT, 9)
    for _ in range(9):
        assert (await told.reserve(order(many, ttl_ms=30 * SECOND))).verdict is Verdict.ADMITTED
    assert (await told.reserve(order(many))).verdict is Verdict.DENIED
    clock.now_ms = NOON + 30 * SECOND
    assert (await told.reserve(order(many, ttl_ms=MINUTE))).levels[0].amount == 1
    clock.now_ms = NOON
    assert await held(told) == 1 + 7


async def test_leases_whose_records_were_lost_are_not_counted_when_they_expired_nor_kept_for_ever(
    told, each_pool, clock
):
    two = limit(CONCURRENT, 2)
    for _ in range(2):
        await told.reserve(order(two, ttl_ms=30 * SECOND))
    await each_pool.call("DEL", f"{KEYS}r", f"{KEYS}x")
    assert (await told.reserve(order(two))).verdict is Verdict.DENIED
    clock.now_ms = NOON + HOUR
    one = order(two, ttl_ms=30 * SECOND)
    assert (await told.reserve(one)).levels[0].amount == 1
    await told.settle(one.reservation, NOTHING)
    assert await each_pool.call("ZCARD", f"{KEYS}l:u:usr_1") == 2
    clock.now_ms = NOON + 10 * DAY
    await told.reserve(order(two))
    assert await each_pool.call("ZCARD", f"{KEYS}l:u:usr_1") == 1


async def test_what_ended_leaves_no_record_and_no_lease(told, each_pool, clock):
    ended = [order(*FIVE, tokens=1) for _ in range(3)]
    for one in ended:
        await told.reserve(one)
        await told.settle(one.reservation, Spent(1, 1, 1))
    clock.now_ms = NOON + MINUTE
    await told.sweep(ORGANISATION, most=10)
    assert await each_pool.call("HLEN", f"{KEYS}r") == 1, "one that stays, so that the key keeps its expiry"
    assert await each_pool.call("ZCARD", f"{KEYS}x") == 1, "as there"
    assert await each_pool.call("EXISTS", f"{KEYS}l:u:usr_1") == 0


@pytest.mark.parametrize(
    "made", [("SET", "garbage"), ("SET", ""), ("SET", "x" * 183), ("RPUSH", "x"), ("HSET", "x", "y")]
)
async def test_a_state_that_is_none_counts_as_lost_and_is_written_anew(told, each_pool, made):
    one = order(*FIVE, tokens=5, ttl_ms=HOUR)
    await told.reserve(one)
    key = f"{KEYS}s:u:usr_1"
    await each_pool.call("DEL", key)
    await each_pool.call(made[0], key, *made[1:])
    assert (await told.read(order(*FIVE, tokens=1))).levels[3].amount == 0
    await told.settle(one.reservation, Spent(1, 7))
    await told.seed(ORGANISATION, "u:usr_1", TPD, FIVE[3].period, used=40)
    assert (await told.reserve(order(*FIVE, tokens=2))).levels[3].amount == 42
    assert await each_pool.call("STRLEN", key) == 184
    assert await each_pool.call("PTTL", key) > DAY


@pytest.mark.parametrize("key", ["r", "x", "l:u:usr_1"])
async def test_other_keys_that_are_not_what_they_should_be_fail_the_order_alone(told, each_pool, key):
    await each_pool.call("SET", f"{KEYS}{key}", "garbage")
    with pytest.raises(ScriptFailed):
        await told.reserve(order(*FIVE, tokens=1))
    if key == "r":
        with pytest.raises(ScriptFailed):
            await told.meta(order().reservation)
