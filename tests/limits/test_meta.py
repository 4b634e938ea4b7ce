"""What a reservation carries for whoever settles it by its id, and reservations of users whom nothing limits."""

import pytest
import structlog

from citadel_edge.config.shape import RedisConfig
from citadel_edge.limits.packed import Packer, own_bytes, packed
from citadel_edge.limits.redis_store import RedisStore
from citadel_edge.limits.values import Dimension, LimitName, Order, Spent, Verdict
from citadel_edge.storage.redis_pool import RedisPool
from citadel_edge.telemetry.clock import Clock
from servers import redis_url, valkey_server

__all__ = ["redis_url", "valkey_server"]
ORGANISATION = "org_0000000000000000000001"
RPM, CONCURRENT = LimitName.REQUESTS_PER_MINUTE, LimitName.CONCURRENT
PLANS = (
    (),
    (Dimension(subject="u:usr_1", name=RPM, limit=60, burst=60),),
    (
        Dimension(subject="u:usr_1", name=RPM, limit=60, burst=60),
        Dimension(subject="u:usr_1", name=CONCURRENT, limit=2),
        Dimension(subject="o:m:modèle", name=RPM, limit=60, burst=60, model="modèle"),
    ),
)


def order(dimensions, n=1, **fields):
    return Order(
        reservation=f"res_{ORGANISATION.removeprefix('org_')}_{n:032x}",
        organisation_id=ORGANISATION,
        dimensions=dimensions,
        cost=Spent(1, 10),
        kept=Spent(1, 5),
        **fields,
    )


@pytest.fixture
async def store(redis_url):
    config = RedisConfig(url=redis_url, deadline_ms=2000)
    async with RedisPool.open(config, clock=Clock(), log=structlog.get_logger()) as pool:
        yield RedisStore(pool)


@pytest.mark.parametrize("dimensions", PLANS, ids=len)
@pytest.mark.parametrize("meta", [b"", b"x", b'["json\x00"]'])
def test_the_caller_s_own_bytes_are_found_behind_any_plan(dimensions, meta):
    asked = order(dimensions, meta=meta)
    assert own_bytes(packed(asked, Packer().plan(ORGANISATION, dimensions))) == meta


@pytest.mark.parametrize("dimensions", PLANS, ids=len)
async def test_it_is_there_until_the_reservation_is_settled(store, dimensions):
    asked = order(dimensions, meta=b"mine")
    assert (await store.reserve(asked)).verdict is Verdict.ADMITTED
    assert await store.meta(asked.reservation) == b"mine"
    assert (await store.settle(asked.reservation, Spent(1, 3))).meta == b"mine"
    assert await store.meta(asked.reservation) is None
    assert await store.settle(asked.reservation, Spent(1, 3)) is None


@pytest.mark.parametrize("dimensions", PLANS, ids=len)
async def test_it_is_there_when_nobody_settled_in_time(redis_url, dimensions):
    now_ms = 1_000_000
    config = RedisConfig(url=redis_url, deadline_ms=2000)
    async with RedisPool.open(config, clock=Clock(), log=structlog.get_logger()) as pool:
        store = RedisStore(pool, pretended_ms=lambda: now_ms)
        asked = order(dimensions, meta=b"mine", ttl_ms=1000)
        await store.reserve(asked)
        now_ms += 2000
        assert await store.sweep(ORGANISATION, most=10) == 1
        assert await store.meta(asked.reservation) == b"mine"
        ended = await store.settle(asked.reservation, Spent(1, 3))
        assert (ended.late, ended.meta) == (True, b"mine")


async def test_nobody_s_reservation_carries_nothing(store):
    assert await store.meta(order(()).reservation) is None
    assert await store.meta("res_nothing") is None
    final = order(PLANS[1], meta=b"mine", ttl_ms=0)
    await store.reserve(final)
    assert await store.meta(final.reservation) is None
