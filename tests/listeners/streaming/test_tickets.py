"""Tickets: one entry each, for whoever cannot send headers."""

import asyncio

import aiohttp
import pytest

from citadel_edge.config.shape import ListenerName
from citadel_edge.listeners.streaming import tickets as module
from edges import serving
from servers import own_valkey

__all__ = ["own_valkey"]

STREAMING = ListenerName.STREAMING


async def ticket_of(served, who):
    async with served.client.post(served.url("/v1/tickets", STREAMING), headers=who) as answer:
        assert answer.status == 201
        assert answer.headers["Cache-Control"] == "no-store"
        made = await answer.json()
        assert made["expires_in_s"] == 30
        return made["ticket"]


async def status_of(served, path, **headers):
    async with served.client.get(served.url(path, STREAMING), **headers) as answer:
        return answer.status


async def test_a_ticket_opens_a_socket_once_and_stands_in_no_log(edge_with):
    async with edge_with(options=()) as served:
        ticket = await ticket_of(served, served.as_admin())
        url = served.url(f"/v1/ws?ticket={ticket}", STREAMING)
        async with served.client.ws_connect(url) as socket:
            await socket.send_json({"id": "1", "type": "subscribe", "topics": ["limits"]})
            assert (await socket.receive_json(timeout=10))["type"] == "ack"
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await served.client.ws_connect(url)
        assert refused.value.status == 401
        await served.client.get(served.url(f"/nowhere?ticket={ticket}", STREAMING))
        assert ticket not in served.log.getvalue()


async def test_a_ticket_is_for_those_addresses_alone_that_browsers_open_without_headers(edge_with):
    async with edge_with(options=()) as served:
        ticket = await ticket_of(served, served.as_admin())
        async with served.client.post(served.url(f"/v1/tickets?ticket={ticket}", STREAMING)) as answer:
            assert answer.status == 401
        key = {"Authorization": f"Bearer {ticket}"}
        assert await status_of(served, "/v1/ws", headers=key) == 401
        assert await status_of(served, f"/v1/ws?ticket={ticket}") == 400  # let in, and asked for an upgrade


async def test_a_ticket_brings_its_owner_s_role_and_what_was_never_given_out_opens_nothing(edge_with):
    async with edge_with(options=()) as served:
        ticket = await ticket_of(served, served.as_user())
        async with served.client.ws_connect(served.url(f"/v1/ws?ticket={ticket}", STREAMING)) as socket:
            await socket.send_json({"id": "1", "type": "subscribe", "topics": ["limits"]})
            assert (await socket.receive_json(timeout=10))["code"] == "forbidden"
        for made_up in ("", "x", "cit_ticket_never", "%00", "cit_ticket_" + "x" * 200, "%F0%9F%8E%AB"):
            assert await status_of(served, f"/v1/ws?ticket={made_up}") == 401, made_up


async def test_an_old_ticket_opens_nothing(edge_with, monkeypatch):
    monkeypatch.setattr(module, "LIFE_S", 1)
    async with edge_with(options=()) as served:
        async with served.client.post(served.url("/v1/tickets", STREAMING), headers=served.as_admin()) as answer:
            ticket = (await answer.json())["ticket"]
        await asyncio.sleep(1.1)
        assert await status_of(served, f"/v1/ws?ticket={ticket}") == 401


async def test_a_ticket_is_good_at_every_instance_and_once_among_them(edge_with, migrated_dsn, redis_url, tmp_path):
    (tmp_path / "beside").mkdir()
    async with (
        edge_with(options=()) as one,
        serving(dsn=migrated_dsn, redis_url=redis_url, data_dir=tmp_path / "beside", beside=one) as other,
    ):
        ticket = await ticket_of(one, one.as_admin())
        asked = [status_of(each, f"/v1/ws?ticket={ticket}") for each in (one, other) * 4]
        assert sorted(await asyncio.gather(*asked)) == [400] + [401] * 7


async def test_without_redis_a_ticket_is_good_at_its_own_instance(own_valkey, migrated_dsn, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_HELD", 3)
    async with serving(dsn=migrated_dsn, redis_url=own_valkey.url, data_dir=tmp_path, options=()) as served:
        own_valkey.stop()
        tickets = [await ticket_of(served, served.as_admin()) for _ in range(5)]
        assert [await status_of(served, f"/v1/ws?ticket={each}") for each in tickets] == [503, 503, 400, 400, 400]
        assert await status_of(served, f"/v1/ws?ticket={tickets[-1]}") == 503  # whether another holds it is unknown


async def test_a_ticket_ends_with_its_key(edge_with):
    async with edge_with(options=()) as served:
        ticket = await ticket_of(served, served.as_user())
        key_id = served.edge.directory.lookup(served.keys.demo_key).key_id
        await served.edge.postgres.execute("UPDATE api_keys SET revoked_at = now() WHERE id = $1", key_id)
        async with asyncio.timeout(10):
            while served.edge.directory.lookup(served.keys.demo_key):
                await asyncio.sleep(0.02)
        assert await status_of(served, f"/v1/ws?ticket={ticket}") == 401
