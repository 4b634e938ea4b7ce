import asyncio

import pytest
from redis.exceptions import DataError, NoScriptError, ResponseError

from citadel_edge.config.shape import RedisConfig
from citadel_edge.errors import RedisUnavailable, StartError
from citadel_edge.storage.redis_pool import RedisPool
from citadel_edge.storage.state import Status
from citadel_edge.telemetry.clock import Clock


async def test_replies_are_resp3_values(open_redis, redis_url):
    async with open_redis(redis_url) as pool:
        assert await pool.call("HSET", "h", "a", 1, "b", 2.5) == 2
        assert await pool.call("HGETALL", "h") == {b"a": b"1", b"b": b"2.5"}
        assert await pool.call("GET", "nothing") is None
        assert await pool.call(b"ECHO", b"\x00\xff") == b"\x00\xff"


async def test_calls_of_one_turn_get_their_own_replies_in_few_round_trips(open_redis, own_valkey):
    async with open_redis(own_valkey.url) as pool:
        before = _commands(own_valkey)
        replies = await asyncio.gather(*(pool.call("ECHO", str(number)) for number in range(500)))
        assert replies == [str(number).encode() for number in range(500)]
        assert _commands(own_valkey) - before < 600, "each was sent once"


async def test_a_wrong_command_is_its_authors_business_and_spoils_no_other(open_redis, redis_url):
    async with open_redis(redis_url) as pool:
        calls = [pool.call("SET", "k", "text"), pool.call("INCR", "k"), pool.call("NOSUCH"), pool.call("GET", "k")]
        done, wrong, unknown, read = await asyncio.gather(*calls, return_exceptions=True)
        assert (done, read) == (b"OK", b"text")
        assert isinstance(wrong, ResponseError)
        assert isinstance(unknown, ResponseError)
        with pytest.raises(NoScriptError):
            await pool.call("EVALSHA", "0" * 40, 0)


async def test_a_value_that_cannot_be_sent_fails_alone(open_redis, redis_url):
    async with open_redis(redis_url) as pool:
        bad, good = await asyncio.gather(pool.call("SET", "k", None), pool.call("PING"), return_exceptions=True)
        assert isinstance(bad, DataError)
        assert good == b"PONG"


async def test_a_long_deadline_holds_up_nobody(open_redis, redis_url):
    async with open_redis(redis_url, deadline_ms=500) as pool:
        slow = [pool.call("BLPOP", f"none{number}", 0.2, deadline_s=30) for number in range(6)]
        waiting = asyncio.gather(*slow)
        await asyncio.sleep(0.05)
        assert await pool.call("PING") == b"PONG"
        assert await waiting == [None] * 6


async def test_a_pool_is_healthy_with_a_latency(open_redis, redis_url):
    async with open_redis(redis_url) as pool:
        state = await pool.check()
        assert state.status is Status.UP
        assert 0 < state.latency_ms < 2000


async def test_published_messages_are_heard_in_order(open_redis, redis_url):
    async with open_redis(redis_url) as pool:
        heard, subscribed = [], asyncio.Event()
        listening = asyncio.ensure_future(pool.listen("news", heard.append, subscribed.set))  # noqa: TID251 - ended below
        await asyncio.wait_for(subscribed.wait(), 10)
        for number in range(100):
            assert await pool.publish("news", str(number)) == 1
        while len(heard) < 100:
            await asyncio.sleep(0.01)
        assert heard == [str(number).encode() for number in range(100)]
        listening.cancel()


async def test_an_error_of_the_body_comes_out_as_it_was(open_redis, redis_url):
    with pytest.raises(KeyError):
        async with open_redis(redis_url):
            raise KeyError("mine")


async def test_embedded_has_to_be_turned_into_an_address_before(log):
    with pytest.raises(StartError, match="embedded"):
        async with RedisPool.open(RedisConfig(url="embedded"), clock=Clock(), log=log):
            pass


async def test_a_password_in_the_url_is_used_and_never_shown(open_redis, own_valkey, capsys):
    own_valkey.say("CONFIG", "SET", "requirepass", "open sesame")
    async with open_redis(f"unix://:open%20sesame@{own_valkey.path}") as pool:
        assert await pool.call("PING") == b"PONG"
    async with open_redis(own_valkey.url) as pool:
        with pytest.raises(RedisUnavailable, match=r"redis\.password"):
            await pool.call("PING")
    async with open_redis(f"unix://:opensesame@{own_valkey.path}") as pool:
        with pytest.raises(RedisUnavailable, match=r"redis\.password") as caught:
            await pool.call("PING")
        assert "opensesame" not in str(caught.value) + str(await pool.check())
    assert "sesame" not in "".join(capsys.readouterr())


def _commands(server):
    info = server.say("INFO", "stats").decode()
    return int(info.partition("total_commands_processed:")[2].split()[0])
