"""On a cluster: the limiter does there what it does on one server, and goes on when a node moves its keys or dies."""

import asyncio
from inspect import signature

import pytest

from citadel_edge.errors import RedisUnavailable
from citadel_edge.limits.values import Period, Spent, Verdict
from clusters import cluster, cluster_server, key_slot, running_cluster  # noqa: F401
from limiters import instance, until
from limits import test_limiter, test_meta
from limits.asked import CONCURRENT, DAY, NOON, RPM, TPD, limit, order
from limits.loads import DEADLINE_MS, WITHIN_S, Load, lose_a_primary, served

LASTING = Period("2026-11-23", 0, NOON + 36_500 * DAY)
"""The servers count by their own clock: a day that is present whenever this runs."""

ON_ANY_REDIS = (test_limiter, test_meta)
"""Whose tests need an empty Redis and no more: they are run on a cluster too."""
globals().update(
    (name, test)
    for suite in ON_ANY_REDIS
    for name, test in vars(suite).items()
    if name.startswith("test_") and {"redis_url", "store"} & set(signature(test).parameters)
)


@pytest.fixture
def redis_url(cluster):  # noqa: F811
    """The URL of an empty cluster."""
    return cluster.url


@pytest.fixture
def own_cluster():
    """A cluster whose nodes one test may kill; the first has a replica."""
    with running_cluster(with_replica=True) as made:
        yield made


async def test_organisations_of_all_nodes_are_counted_at_their_own(store, cluster):  # noqa: F811
    """Everything that the store can do, of two organisations a node at once."""
    names = [name for place in cluster.organisations(2).values() for name in place]
    limits = limit(RPM, 60), limit(CONCURRENT, 5), limit(TPD, 1000, subject="o", period=LASTING)
    made = {name: order(*limits, tokens=100, organisation=name, ttl_ms=60_000) for name in names}
    for answer in await asyncio.gather(*(store.reserve(one) for one in made.values())):
        assert answer.verdict is Verdict.ADMITTED
    for node in cluster.nodes:
        assert b":2" in node.say("EVAL", "return #redis.call('KEYS', 'citadel:limits:*:r')", "0")
    reservations = [one.reservation for one in made.values()]
    assert all(await asyncio.gather(*(store.renew(name, ttl_ms=1, kept=Spent(1, 40)) for name in reservations[:3])))
    await asyncio.sleep(0.01)
    assert await asyncio.gather(*(store.sweep(name, most=10) for name in names)) == [1] * 3 + [0] * 3
    await asyncio.gather(*(store.settle(name, Spent(1, 30)) for name in reservations[3:]))
    await store.seed(names[0], "o", TPD, LASTING, used=777)
    levels = [(await store.read(one)).levels for one in made.values()]
    assert [level[2].amount for level in levels] == [777, 40, 40, 30, 30, 30]
    assert [level[1].amount for level in levels] == [0] * 6


async def test_a_node_that_forgets_its_scripts_is_sent_them_again(redis_url, cluster):  # noqa: F811
    async with instance(redis_url) as one:
        load = {place: Load(one, names[0]) for place, names in cluster.organisations().items()}
        for each in load.values():
            await each.many(5, 20)
        assert cluster.nodes[1].say("SCRIPT", "FLUSH") == b"+OK\r\n"
        for each in load.values():
            await each.many(5, 20)
            assert await each.counted() == (200, 0)
            assert not each.degraded


async def test_an_organisation_that_moves_to_another_node_is_counted_once(redis_url, cluster):  # noqa: F811
    """While its keys are in two places it is decided without Redis, and told when they are in one again."""
    (name,) = cluster.organisations()[0]
    slot, source, target = key_slot(f"{{{name}}}".encode()), *cluster.nodes[:2]
    async with instance(redis_url, deadline_ms=DEADLINE_MS) as one:
        load = Load(one, name)
        await load.many(10, 50)
        held = await load.held(3, 1000)
        async with asyncio.TaskGroup() as group:
            for place in range(5):
                group.create_task(load.keep_on(place))
            await asyncio.to_thread(cluster.begin_move, slot, source, target)
            await asyncio.to_thread(cluster.move, slot, source, target, f"citadel:limits:{{{name}}}:s:o")
            await until(lambda: load.degraded, WITHIN_S)
            await asyncio.to_thread(cluster.end_move, slot, source, target)
            await until(lambda: not one.limiter.degraded, WITHIN_S)
            await asyncio.sleep(0.1)
            load.stop()
        await served(one)
        try:
            assert await load.counted() == (load.tokens + 3 * 1000, 3)
            assert not one.events("redis_changed")
        finally:
            await asyncio.to_thread(cluster.begin_move, slot, target, source)
            await asyncio.to_thread(cluster.end_move, slot, target, source)
        for reservation in held:
            one.limiter.settle(reservation, Spent(1, 1))
        await served(one)
        assert await load.counted() == (load.tokens + 3, 0)


async def test_a_settlement_whose_keys_are_in_two_places_changes_nothing(store, cluster):  # noqa: F811
    (name,) = cluster.organisations()[0]
    slot, source, target = key_slot(f"{{{name}}}".encode()), *cluster.nodes[:2]
    made = order(limit(RPM, 60), limit(TPD, 1000, subject="o", period=LASTING), tokens=100, organisation=name)
    await store.reserve(made)
    await asyncio.to_thread(cluster.begin_move, slot, source, target)
    try:
        await asyncio.to_thread(cluster.move, slot, source, target, f"citadel:limits:{{{name}}}:s:o")
        with pytest.raises(RedisUnavailable, match="moving the key"):
            await store.settle(made.reservation, Spent(1, 30))
        await asyncio.to_thread(cluster.end_move, slot, source, target)
        assert await store.settle(made.reservation, Spent(1, 30)) is not None
        assert [level.amount for level in (await store.read(made)).levels][1] == 30
    finally:
        await asyncio.to_thread(cluster.begin_move, slot, target, source)
        await asyncio.to_thread(cluster.end_move, slot, target, source)


async def test_a_node_that_dies_and_comes_back_empty_is_told_what_is_open(own_cluster):
    """Without a replica there is nobody else; what was over is lost, and said to be."""
    (name,), (other,) = own_cluster.organisations()[1], own_cluster.organisations()[2]
    async with instance(own_cluster.url, deadline_ms=DEADLINE_MS) as one:
        load, beside = Load(one, name), Load(one, other)
        await load.many(10, 50)
        await beside.many(10, 50)
        held = await load.held(3, 1000)
        await until(lambda: one.parts.comeback._looks)
        await asyncio.to_thread(own_cluster.nodes[1].stop)
        await until(lambda: one.limiter.degraded, WITHIN_S)
        await load.request(1, 70)
        await beside.request(1, 70)
        await asyncio.to_thread(own_cluster.nodes[1].start)
        await until(lambda: one.events("redis_changed") and not one.limiter.degraded, WITHIN_S)
        await served(one)
        assert await load.counted() == (70 + 3 * 1000, 3)
        assert await beside.counted() == (beside.tokens, 0)
        (event,) = one.events("redis_changed")
        assert (event["lost_at_most"], event["of_the_last_s"]) == (None, None)
        assert "may have lost any write" in one.limiter.state().detail
        for reservation in held:
            one.limiter.settle(reservation, Spent(1, 1))
        await served(one)
        assert await load.counted() == (70 + 3, 0)


async def test_a_failover_loses_at_most_what_replication_had_not_sent_and_says_so(own_cluster):
    (name,) = own_cluster.organisations()[0]
    async with instance(own_cluster.url, deadline_ms=DEADLINE_MS) as one:
        await lose_a_primary(one, own_cluster.nodes[0], name)
        assert own_cluster.replica.is_primary
