"""PostgreSQL or Redis, or both, are away: who is still let in, and for how long."""

import asyncio
import signal

import pytest

from citadel_edge.accounts.bootstrap import bootstrap
from citadel_edge.accounts.keys import make
from citadel_edge.config.shape import Config
from citadel_edge.errors import Code, RequestError
from citadel_edge.storage.migrate import migrate
from citadel_edge.telemetry.ids import uuid7


@pytest.fixture
async def outage(open_instance, own_postgres, own_valkey):
    """An instance on servers that the test may stop."""
    async with open_instance(own_postgres.dsn(), own_valkey.url, deadline_s=2.0) as opened:
        async with asyncio.timeout(60):
            await opened.postgres.wait_until_up()
            await migrate(opened.postgres)
            await bootstrap(opened.postgres, Config(environment="production"), opened.clock)
            await opened.hears()
        yield opened


async def test_without_postgres_a_remembered_key_serves_as_long_as_redis_is_heard(outage, own_postgres):
    _, made = await outage.user_with_key()
    await outage.directory.authenticate(made.text)
    await _stop_postgres(outage, own_postgres)
    for _ in range(5):
        outage.clock.ahead[0] += 59
        assert (await outage.directory.authenticate(made.text)).name == "ada"
        assert outage.directory.lookup(made.text) is not None, "and not every request asks again"
    assert await _code(outage, _stranger(outage)) is Code.ACCOUNTS_UNAVAILABLE
    await asyncio.to_thread(own_postgres.start)
    async with asyncio.timeout(60):
        await outage.postgres.wait_until_up()
        await outage.hears()
    assert await _code(outage, _stranger(outage)) is Code.INVALID_API_KEY
    assert (await outage.directory.authenticate(made.text)).name == "ada"


async def test_with_neither_a_remembered_key_serves_for_60_s(outage, own_postgres, own_valkey):
    _, made = await outage.user_with_key()
    await outage.directory.authenticate(made.text)
    await asyncio.to_thread(own_valkey.stop)
    await _stop_postgres(outage, own_postgres)
    async with asyncio.timeout(30):
        while outage.directory._by_redis.subscribed or outage.directory._by_postgres.subscribed:
            await asyncio.sleep(0.01)
    outage.clock.ahead[0] += 50
    assert (await outage.directory.authenticate(made.text)).name == "ada"
    outage.clock.ahead[0] += 11
    assert outage.directory.lookup(made.text) is None
    assert await _code(outage, made.text) is Code.ACCOUNTS_UNAVAILABLE


async def test_a_key_revoked_while_nothing_was_heard_ends_when_it_is_heard_again(outage, own_postgres, own_valkey):
    user, made = await outage.user_with_key()
    principal = await outage.directory.authenticate(made.text)
    told = []
    outage.directory.on_news(told.append)
    await asyncio.to_thread(own_valkey.stop)
    await _stop_postgres(outage, own_postgres)
    await asyncio.to_thread(own_postgres.start)
    await asyncio.to_thread(own_postgres.run, f"UPDATE api_keys SET revoked_at = now() WHERE user_id = '{user.id}'")
    async with asyncio.timeout(60):
        while not any(news is not None and news.ends(principal) for news in told):
            await asyncio.sleep(0.01)
    assert await _code(outage, made.text) is Code.INVALID_API_KEY


async def test_without_a_schema_accounts_are_unavailable_and_not_broken(open_instance, own_postgres, own_valkey):
    async with open_instance(own_postgres.dsn(), own_valkey.url) as opened:
        async with asyncio.timeout(60):
            await opened.postgres.wait_until_up()
        assert await _code(opened, _stranger(opened)) is Code.ACCOUNTS_UNAVAILABLE


async def _stop_postgres(outage, own_postgres):
    await asyncio.to_thread(own_postgres.stop, signal.SIGINT)
    async with asyncio.timeout(30):
        while outage.directory._by_postgres.subscribed:
            await asyncio.sleep(0.01)


async def _code(instance, text):
    with pytest.raises(RequestError) as caught:
        await instance.directory.authenticate(text)
    return caught.value.code


def _stranger(instance):
    return make("test", uuid7(instance.clock), b"\x07" * 32).text
