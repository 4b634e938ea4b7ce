"""Connections of the graph whose caller's rights change while they are open."""

import asyncio

import pytest

from citadel_edge.accounts.principal import Role
from event_streams import TOKEN, hearing, operate, reserved
from people import person, within
from shelf import shelf_on, talking

OVERLAP_S = 1.0
SOON_S = OVERLAP_S + 5.0
SILENT = "subscription { silent }"


@pytest.fixture
async def shelf(edge_with):
    async with edge_with(options=()) as served, shelf_on(served) as shelf:
        yield shelf


async def rights(socket):
    await socket.subscribe("r", "{ rights }")
    return (await socket.rest("r"))[0]["payload"]["data"]["rights"]


async def test_a_rotated_key_ends_what_it_opened_when_its_overlap_is_over(shelf):
    ada = await person(shelf.served, "ada")
    token = await reserved(shelf, ada.headers)
    async with (
        talking(shelf.url, init=ada.headers) as busy,
        talking(shelf.url, init=ada.headers) as idle,
        hearing(shelf, SILENT, who=ada.headers) as distinct,
        hearing(shelf, method="GET", who=ada.headers, **{TOKEN: token}) as single,
        asyncio.TaskGroup() as group,
    ):
        await busy.subscribe("a", SILENT)
        assert await operate(shelf, token, SILENT, who=ada.headers) == 202
        await ada.rotates(OVERLAP_S)
        ends = [
            group.create_task(within(end, OVERLAP_S / 2, SOON_S))
            for end in (busy.closed(), idle.closed(), distinct.rest(), single.rest())
        ]
        assert await rights_of_another(shelf, ada) == "user of unlimited", "within the overlap"
    for closed in ends[:2]:
        assert closed.result()[0] == 4403
    (_, said), _ = ends[2].result()
    assert said["errors"][0]["extensions"]["code"] == "invalid_api_key"
    (_, said), last = ends[3].result()
    assert said["payload"]["errors"][0]["extensions"]["code"] == "invalid_api_key"
    assert last == ("complete", {"id": "1"})
    await shelf.nothing_is_left()


async def rights_of_another(shelf, who):
    async with talking(shelf.url, init=who.headers) as socket:
        return await rights(socket)


async def test_each_operation_is_judged_by_what_its_caller_may_then(shelf):
    eve = await person(shelf.served, "eve")
    token = await reserved(shelf, eve.headers)
    async with (
        talking(shelf.url, init=eve.headers) as socket,
        hearing(shelf, method="GET", who=eve.headers, **{TOKEN: token}) as events,
    ):
        assert await rights(socket) == "user of unlimited"
        await eve.becomes(tier="free", role=Role.OPERATOR.value)
        assert await rights(socket) == "operator of free"
        assert await operate(shelf, token, "{ rights }", who=eve.headers) == 202
        assert (await events.next())[1]["payload"]["data"] == {"rights": "operator of free"}
    await shelf.nothing_is_left()


async def test_rights_that_were_lowered_past_the_desk_end_what_they_opened(shelf):
    eve = await person(shelf.served, "eve", role=Role.OPERATOR)
    async with talking(shelf.url, init=eve.headers) as socket, hearing(shelf, SILENT, who=eve.headers) as events:
        await socket.subscribe("s", SILENT)
        await shelf.until_said("began")
        await shelf.served.edge.postgres.execute("UPDATE users SET role = 'user' WHERE id = $1", eve.user_id)
        assert (await asyncio.wait_for(socket.closed(), 5))[0] == 4403
        (_, said), _ = await events.rest()
        assert said["errors"][0]["extensions"]["code"] == "invalid_api_key"
    await shelf.nothing_is_left()


async def test_an_operation_ends_with_the_key_that_brought_it_and_the_stream_of_another_key_goes_on(shelf):
    bob = await person(shelf.served, "bob")
    other = await bob.another()
    token = await reserved(shelf, bob.headers)
    async with hearing(shelf, method="GET", who=bob.headers, **{TOKEN: token}) as events:
        assert await operate(shelf, token, SILENT, "other's", who=other.headers) == 202
        await shelf.until_said("began")
        await other.revokes()
        _, said = await events.next()
        assert said["payload"]["errors"][0]["extensions"]["code"] == "invalid_api_key"
        assert await events.next() == ("complete", {"id": "other's"})
        assert await operate(shelf, token, "{ who }", who=bob.headers) == 202
        assert (await events.next())[1]["payload"]["data"] == {"who": bob.user_id}
    await shelf.nothing_is_left()


async def test_a_key_shown_with_the_upgrade_and_ended_before_the_first_message_opens_nothing(shelf):
    kim = await person(shelf.served, "kim")
    async with talking(shelf.url, additional_headers=kim.headers) as socket:
        await kim.revokes()
        await socket.say(type="connection_init")
        assert (await socket.closed())[0] == 4403
