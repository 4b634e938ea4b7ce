"""A Redis Cluster: each key at its node, and nodes that fail, move their keys or die."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

from citadel_edge.errors import RedisUnavailable
from citadel_edge.storage.instances import Instances
from citadel_edge.storage.redis_roll_call import roll_call
from citadel_edge.storage.state import Status
from clusters import cluster, cluster_server, key_slot, running_cluster  # noqa: F401
from servers import running_valkey

DEADLINE_S = 1.0


@asynccontextmanager
async def opened(open_redis, url, **fields):
    """A pool that knows the cluster's shape and has every node."""
    async with open_redis(url, **fields) as pool:
        async with asyncio.timeout(60):
            while (await pool.check()).status is not Status.UP:
                await asyncio.sleep(0.01)
        yield pool


@pytest.fixture
async def pool(open_redis, cluster):  # noqa: F811
    async with opened(open_redis, cluster.url) as made:
        yield made


@pytest.fixture
def own_cluster():
    """A cluster whose nodes one test may kill; the first has a replica."""
    with running_cluster(with_replica=True) as made:
        yield made


def _key_of(node, cluster):  # noqa: F811
    return next(key for key in map("k{}".format, range(1000)) if cluster.owner(key) is node)


async def test_every_key_is_at_its_node(pool, cluster):  # noqa: F811
    keys = [f"k{number}" for number in range(90)]
    assert await asyncio.gather(*(pool.call("SET", key, key) for key in keys)) == [b"OK"] * 90
    assert await asyncio.gather(*(pool.call("GET", key) for key in keys)) == [key.encode() for key in keys]
    for node in cluster.nodes:
        here = sum(cluster.owner(key) is node for key in keys)
        assert here > 0
        assert f":{here}".encode() in node.say("EVAL", "return #redis.call('KEYS', 'k*')", "0")


async def test_one_seed_that_lives_is_enough(open_redis, cluster):  # noqa: F811
    async with opened(open_redis, f"redis+cluster://127.0.0.1:1,{cluster.nodes[2].address}") as pool:
        assert await asyncio.gather(*(pool.call("SET", f"k{number}", 1) for number in range(20))) == [b"OK"] * 20


async def test_a_server_that_is_no_cluster_is_said(open_redis, free_port):
    with running_valkey("--port", str(free_port)):
        async with open_redis(f"redis+cluster://127.0.0.1:{free_port}") as pool:
            with pytest.raises(RedisUnavailable, match="cannot be reached as a cluster"):
                await pool.call("GET", "k")


async def test_a_node_taken_for_a_single_server_is_said(open_redis, cluster):  # noqa: F811
    async with open_redis(f"redis://{cluster.nodes[0].address}") as pool:
        with pytest.raises(RedisUnavailable, match=r"node of a cluster: write redis\+cluster://"):
            await pool.call("SET", _key_of(cluster.nodes[1], cluster), 1)


async def test_keys_that_move_are_followed(pool, cluster):  # noqa: F811
    source, target = cluster.nodes[:2]
    key = _key_of(source, cluster)
    slot = key_slot(key.encode())
    await pool.call("SET", key, "there")
    await asyncio.to_thread(cluster.begin_move, slot, source, target)
    try:
        assert await pool.call("GET", key) == b"there"
        await asyncio.to_thread(cluster.move, slot, source, target)
        assert await pool.call("GET", key) == b"there"
        assert await pool.call("EVAL", "return redis.call('GET', KEYS[1])", 1, key) == b"there"
        with pytest.raises(RedisUnavailable, match="moving the key"):
            await pool.call("MGET", key, f"{{{key}}}none")
        await asyncio.to_thread(cluster.end_move, slot, source, target)
        assert await asyncio.gather(*(pool.call("INCR", f"{{{key}}}n") for _ in range(50))) == list(range(1, 51))
    finally:
        await asyncio.to_thread(cluster.begin_move, slot, target, source)
        await asyncio.to_thread(cluster.end_move, slot, target, source)
    assert await pool.call("GET", key) == b"there"


async def test_a_frozen_node_holds_up_nobody_elses_calls(open_redis, own_cluster):
    frozen = own_cluster.nodes[1]
    for node in own_cluster.nodes:
        node.say("CONFIG", "SET", "cluster-require-full-coverage", "no")
    keys = [_key_of(node, own_cluster) for node in own_cluster.nodes]
    async with opened(open_redis, own_cluster.url, deadline_ms=DEADLINE_S * 1000) as pool:
        frozen.freeze()
        with pytest.raises(RedisUnavailable, match=str(frozen.port)):
            await pool.call("SET", keys[1], 1)
        refused, slowest_s = 0, 0.0
        for _ in range(100):
            began_s = time.monotonic()
            for key in (keys[0], keys[2]):
                assert await pool.call("GET", key) is None
            slowest_s = max(slowest_s, time.monotonic() - began_s)
            try:
                await pool.call("GET", keys[1])
            except RedisUnavailable:
                refused += 1
        assert refused == 100
        assert slowest_s < DEADLINE_S
        state = await pool.check()
        assert state.status is Status.DOWN
        assert str(frozen.port) in state.detail
        with pytest.raises(RedisUnavailable):
            await roll_call(pool)
        frozen.thaw()
        await _until_written(pool, keys[1])


async def test_a_replica_takes_its_primarys_place(open_redis, own_cluster):
    key = _key_of(own_cluster.nodes[0], own_cluster)
    async with opened(open_redis, own_cluster.url) as pool:
        before = await roll_call(pool)
        heard, lost = [], []
        listener = pool.listener("news", heard.append, lambda: heard.append(b"subscribed"), lambda: lost.append(1))
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(listener.run())
            await _until(lambda: heard == [b"subscribed"])
            await asyncio.to_thread(own_cluster.nodes[0].stop)
            await _until_written(pool, key)
            await _until(lambda: heard == [b"subscribed", b"subscribed"])
            assert lost == [1]
            async with asyncio.timeout(30):
                while b"everywhere" not in heard:
                    await pool.publish("news", "everywhere")
                    await asyncio.sleep(0.05)
            listening.cancel()
        assert (await pool.check()).status is Status.UP
        after = await roll_call(pool)
        (new,) = {one.run_id for one in after} - {one.run_id for one in before}
        assert new.decode() in own_cluster.replica.say("INFO", "server").decode()


async def test_every_primary_is_called(pool, cluster):  # noqa: F811
    present = await roll_call(pool)
    assert len({one.run_id for one in present}) == 3
    for node in cluster.nodes:
        assert b"citadel:probe" in node.say("KEYS", "*")


async def test_instances_are_counted_and_news_are_heard_at_any_node(open_redis, cluster):  # noqa: F811
    async with opened(open_redis, cluster.url) as one, opened(open_redis, cluster.url) as other:
        places = Instances(one), Instances(other)
        for place in (*places, *places):
            await place.beat()
        assert [place.alive for place in places] == [2, 2]
        heard = []
        listeners = [pool.listener("news", heard.append) for pool in (one, other)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(listener.run()) for listener in listeners]
            await _until(lambda: all(listener.subscribed for listener in listeners))
            for node in cluster.nodes:
                await asyncio.to_thread(node.say, "PUBLISH", "news", str(node.port))
            await _until(lambda: sorted(heard) == sorted(2 * [str(node.port).encode() for node in cluster.nodes]))
            for task in tasks:
                task.cancel()


async def _until(fact):
    async with asyncio.timeout(30):
        while not fact():
            await asyncio.sleep(0.01)


async def _until_written(pool, key):
    async with asyncio.timeout(60):
        while True:
            try:
                return await pool.call("SET", key, 1)
            except RedisUnavailable:
                await asyncio.sleep(0.02)
