"""Redis is away, refuses, or is frozen: who waits, what is said, and how it comes back."""

import asyncio
import contextlib
import time

import pytest

from citadel_edge.errors import RedisUnavailable
from citadel_edge.storage.state import Status
from servers import running_valkey

QUICK_MS = 100.0
FAST_S = 0.05


async def test_a_pool_opens_and_fails_at_once_without_a_server(open_redis, tmp_path):
    async with open_redis(f"unix://{tmp_path}/none.sock") as pool:
        assert await _time_of_refusal(pool, "is it running") < FAST_S
        assert (await pool.check()).status is Status.DOWN


async def test_a_refusing_port_is_named(open_redis, free_port):
    async with open_redis(f"redis://127.0.0.1:{free_port}") as pool:
        with pytest.raises(RedisUnavailable, match=rf"127\.0\.0\.1:{free_port} refuses connections"):
            await pool.call("PING")


async def test_a_server_that_comes_later_is_found(open_redis, own_valkey):
    own_valkey.stop()
    async with open_redis(own_valkey.url) as pool:
        with pytest.raises(RedisUnavailable):
            await pool.call("PING")
        own_valkey.start()
        await asyncio.wait_for(pool.wait_until_up(), 20)
        assert await pool.call("PING") == b"PONG"


async def test_a_restart_between_two_calls_is_not_noticed(open_redis, own_valkey):
    async with open_redis(own_valkey.url) as pool:
        assert await pool.call("PING") == b"PONG"
        await asyncio.to_thread(own_valkey.stop)
        await asyncio.to_thread(own_valkey.start)
        await asyncio.sleep(0.05)
        assert await pool.call("PING") == b"PONG"


async def test_a_frozen_server_costs_a_deadline_and_then_nothing(open_redis, own_valkey):
    async with open_redis(own_valkey.url, deadline_ms=QUICK_MS) as pool:
        await pool.call("PING")
        own_valkey.freeze()
        assert await _time_of_refusal(pool, "did not answer") < 20 * QUICK_MS / 1000
        await _until_down(pool)
        assert await _time_of_refusal(pool, "did not answer") < FAST_S
        own_valkey.thaw()
        await asyncio.wait_for(pool.wait_until_up(), 20)
        assert await pool.call("ECHO", "fresh") == b"fresh"


async def test_a_killed_server_fails_who_waits_at_once(open_redis, own_valkey):
    async with open_redis(own_valkey.url, deadline_ms=30_000) as pool:
        await pool.call("PING")
        own_valkey.freeze()
        calls = [asyncio.ensure_future(pool.call("PING")) for _ in range(20)]  # noqa: TID251 - awaited below
        await asyncio.sleep(0.05)
        started = time.monotonic()
        await asyncio.to_thread(own_valkey.stop)
        for answer in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(answer, RedisUnavailable)
        assert time.monotonic() - started < 10


async def test_too_many_clients_are_said(open_redis):
    with running_valkey("--maxclients", "1") as server:
        writer = await _the_only_client(server)
        async with open_redis(server.url) as pool:
            with pytest.raises(RedisUnavailable, match="maxclients"):
                await pool.call("PING")
        writer.close()
        await writer.wait_closed()


async def test_a_read_only_replica_refuses_the_write_and_serves_the_read(open_redis, own_valkey):
    own_valkey.say("REPLICAOF", "127.0.0.1", "1")
    async with open_redis(own_valkey.url) as pool:
        assert await pool.call("GET", "k") is None
        with pytest.raises(RedisUnavailable, match="read-only replica"):
            await pool.call("SET", "k", "v")
        assert await pool.call("GET", "k") is None
        own_valkey.say("REPLICAOF", "NO", "ONE")
        assert await pool.call("SET", "k", "v") == b"OK"


async def test_a_server_busy_with_a_script_is_said_and_comes_back(open_redis, own_valkey):
    own_valkey.say("CONFIG", "SET", "busy-reply-threshold", "1")
    async with open_redis(own_valkey.url, deadline_ms=QUICK_MS) as pool:
        script = asyncio.ensure_future(pool.call("EVAL", "while true do end", 0, deadline_s=60))  # noqa: TID251
        with pytest.raises(RedisUnavailable, match="busy running a script"):
            async with asyncio.timeout(20):
                await _until_said(pool, "busy")
        await asyncio.to_thread(own_valkey.say, "SCRIPT", "KILL")
        with pytest.raises(Exception, match="killed"):
            await script
        await asyncio.wait_for(pool.wait_until_up(), 20)
        async with asyncio.timeout(20):
            while (await pool.check()).status is not Status.UP:
                await asyncio.sleep(0.01)


async def test_a_server_that_is_no_redis_is_away(open_redis):
    async def answer(_reader, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, open_redis(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}") as pool:
        with pytest.raises(RedisUnavailable):
            await pool.call("PING")


async def test_a_subscription_is_made_anew_and_says_so(open_redis, own_valkey):
    async with open_redis(own_valkey.url) as pool:
        heard, times, lost = [], [], []
        listener = pool.listener("c", heard.append, lambda: times.append(1), lambda: lost.append(1))
        running = asyncio.ensure_future(listener.run())  # noqa: TID251 - ended below
        async with asyncio.timeout(30):
            await _until(lambda: len(times) == 1)
            await asyncio.to_thread(own_valkey.stop)
            await _until(lambda: lost == [1] and not listener.subscribed)
            await asyncio.to_thread(own_valkey.start)
            await _until(lambda: len(times) == 2 and listener.subscribed)
            await pool.wait_until_up()
            assert await pool.publish("c", "again") == 1
            await _until(lambda: heard == [b"again"])
        running.cancel()


async def test_a_subscription_notices_a_frozen_server_by_itself(open_redis, own_valkey):
    async with open_redis(own_valkey.url) as pool:
        listener = pool.listener("c", lambda _: None)
        running = asyncio.ensure_future(listener.run())  # noqa: TID251 - ended below
        async with asyncio.timeout(30):
            await _until(lambda: listener.subscribed)
            own_valkey.freeze()
            await _until(lambda: not listener.subscribed)
            own_valkey.thaw()
            await _until(lambda: listener.subscribed)
        running.cancel()


async def _time_of_refusal(pool, words):
    started = time.monotonic()
    with pytest.raises(RedisUnavailable, match=words):
        await pool.call("PING")
    return time.monotonic() - started


async def _until_down(pool):
    async with asyncio.timeout(20):
        while (await pool.check()).status is Status.UP or pool._gate.status is not Status.DOWN:
            await asyncio.sleep(0.01)


async def _until_said(pool, words):
    while True:
        try:
            await pool.call("PING")
        except RedisUnavailable as error:
            if words in str(error):
                raise
        await asyncio.sleep(0.01)


async def _until(true):
    while not true():
        await asyncio.sleep(0.01)


async def _the_only_client(server):
    """A connection that holds the one place, once the server has noticed that the one before has gone."""
    while True:
        reader, writer = await asyncio.open_unix_connection(server.path)
        with contextlib.suppress(ConnectionError):
            writer.write(b"PING\r\n")
            if await reader.readline() == b"+PONG\r\n":
                return writer
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
