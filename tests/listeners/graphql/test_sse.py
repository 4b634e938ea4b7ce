"""graphql-sse in both modes: how events look, what ends them, and who may hear them."""

import asyncio

import pytest

from citadel_edge.listeners.common import sse
from citadel_edge.listeners.graphql import reservations
from citadel_edge.wire.sse import PING
from event_streams import TOKEN, hearing, operate, reserved
from shelf import GRAPH, shelf_on

BOOK = "{ book { title } }"


@pytest.fixture
async def shelf(edge_with):
    async with edge_with(options=()) as served, shelf_on(served) as shelf:
        yield shelf


async def test_an_operation_of_any_kind_is_answered_by_events_and_completed(shelf):
    for method in ("GET", "POST"):
        async with hearing(shelf, "subscription { ticks(to: 2) }", method=method) as events:
            *ticks, last = await events.rest()
            assert [(name, data["data"]) for name, data in ticks] == [("next", {"ticks": n}) for n in (0, 1)]
            assert last == ("complete", None)
            assert events.raw.startswith(PING)
            assert events.raw.endswith(b"event: complete\ndata: \n\n")
        async with hearing(shelf, BOOK, method=method) as events:
            assert [name for name, _ in await events.rest()] == ["next", "complete"]
    async with hearing(shelf, "{ book { title ... @defer { late } } }") as events:
        assert [name for name, _ in await events.rest()] == ["next", "next", "complete"]
    async with hearing(shelf, 'mutation { add(title: "x") { title } }') as events:
        assert (await events.next())[1]["data"] == {"add": {"title": "x"}}
    await shelf.nothing_is_left()


async def test_a_refusal_is_an_event_and_what_is_no_request_is_not(shelf):
    for query in ("{", "{ nope }", "query A { who } query B { who }"):
        async with hearing(shelf, query) as events:
            (first, said), last = await events.rest()
            assert (first, said["errors"][0]["extensions"]["code"]) == ("next", "invalid_request")
            assert last == ("complete", None)
    async with hearing(shelf, None, method="GET", status=400):
        pass
    async with hearing(shelf, 'mutation { add(title: "x") { title } }', method="GET", status=405) as events:
        assert events.answer.headers["Allow"] == "POST"
    shelf.failing.append(ValueError("the password is hunter2"))
    async with hearing(shelf, BOOK) as events:
        assert [name for name, _ in await events.rest()] == ["next", "complete"]
        assert b"internal" in events.raw
        assert b"hunter2" not in events.raw


async def test_silence_is_filled_and_a_client_that_leaves_ends_its_subscription(shelf, monkeypatch):
    monkeypatch.setattr(sse, "HEARTBEAT_S", 0.05)
    async with hearing(shelf, "subscription { silent }") as events:
        raw = b""
        async with asyncio.timeout(5):
            while raw.count(PING) < 4:
                raw += await events.answer.content.readany()
        assert raw == PING * raw.count(PING)
        assert shelf.figure("subscriptions", transport="sse") == 1
        events.answer.close()
    await shelf.until_said("closed")
    await shelf.nothing_is_left()


async def test_a_stream_that_we_end_says_why(shelf):
    async with hearing(shelf, "subscription { silent }") as events:
        await shelf.until_said("began")
        shelf.served.edge.presence.end_all()
        (_, said), last = await events.rest()
        assert said["errors"][0]["extensions"]["code"] == "listener_stopped"
        assert last == ("complete", None)
    await shelf.nothing_is_left()


async def test_a_client_that_takes_nothing_is_let_go(shelf, monkeypatch):
    monkeypatch.setattr(sse, "SEND_WITHIN_S", 0.3)
    monkeypatch.setattr(sse, "LAST_WORDS_S", 0.2)
    async with hearing(shelf, "subscription { large }"):
        await shelf.until_said("closed")
        await shelf.nothing_is_left()


async def test_many_operations_are_answered_on_one_stream(shelf):
    token = await reserved(shelf)
    assert await operate(shelf, token, BOOK, "early") == 202
    async with hearing(shelf, method="GET", **{TOKEN: token}) as events:
        assert await events.next() == ("next", {"id": "early", "payload": (shown := await whole(shelf, BOOK))})
        assert await events.next() == ("complete", {"id": "early"})
        assert await operate(shelf, token, "subscription { silent }", "s") == 202
        assert await operate(shelf, token, BOOK, "q") == 202
        assert await events.next() == ("next", {"id": "q", "payload": shown})
        assert await events.next() == ("complete", {"id": "q"})
        assert await operate(shelf, token, BOOK, "s") == 409
        assert await operate(shelf, token, "", "s", method="DELETE") == 200
        await shelf.until_said("closed")
        assert await operate(shelf, token, BOOK, "s") == 202
        assert (await events.next())[1]["id"] == "s"
        assert await operate(shelf, token, "{ slow }", "left") == 202
        await shelf.until_said("began")
        events.answer.close()
    await shelf.until_said("cancelled")
    await shelf.nothing_is_left()
    assert await operate(shelf, token, BOOK, "after") == 404


async def test_an_operation_does_not_keep_the_seat_of_the_request_that_brought_it(shelf):
    token = await reserved(shelf)
    async with hearing(shelf, method="GET", **{TOKEN: token}):
        assert await operate(shelf, token, "subscription { silent }") == 202
        await shelf.until_said("began")
        assert shelf.seats == [None]
        snapshot = shelf.served.edge.budgets[GRAPH].snapshot()
        assert (snapshot["tasks"], snapshot["spawned"]) == (0, 1)
        assert snapshot["bytes"] > 0
    await shelf.nothing_is_left()


async def whole(shelf, query):
    return (await shelf.post(query))[1]


async def test_a_request_that_is_refused_is_refused_over_http(shelf):
    token = await reserved(shelf)
    assert await operate(shelf, token, "{ nope }", "a") == 400
    assert await operate(shelf, token, BOOK, "") == 400
    assert await operate(shelf, token, "", "", method="DELETE") == 400
    assert await operate(shelf, "none", BOOK) == 404
    assert await operate(shelf, "none", "", method="DELETE") == 404
    async with hearing(shelf, method="GET", status=404, **{TOKEN: "none"}):
        pass
    for n in range(100):
        assert await operate(shelf, token, BOOK, f"n{n}") == 202
    assert await operate(shelf, token, BOOK, "one more") == 503


async def test_a_reservation_is_its_user_s_and_good_for_one_stream(shelf, monkeypatch):
    admin, token = shelf.served.as_admin(), await reserved(shelf)
    assert await operate(shelf, token, BOOK, who=admin) == 404
    async with hearing(shelf, method="GET", who=admin, status=404, **{TOKEN: token}):
        pass
    async with hearing(shelf, method="GET", who={}, **{TOKEN: token}) as events:  # as browsers open it
        async with hearing(shelf, method="GET", status=409, **{TOKEN: token}):
            pass
        assert await operate(shelf, token, "{ who }") == 202
        principal = await shelf.served.edge.directory.authenticate(shelf.served.keys.demo_key)
        assert (await events.next())[1]["payload"]["data"] == {"who": principal.user_id}
        assert (await events.next())[0] == "complete"
        assert await operate(shelf, token, "subscription { silent }") == 202
        await shelf.until_said("began")
        shelf.served.edge.presence.end_all()
        assert [(name, data["id"]) for name, data in await events.rest()] == [("next", "1"), ("complete", "1")]
    monkeypatch.setattr(reservations, "LIFE_S", 0.1)
    token = await reserved(shelf)
    assert await operate(shelf, token, "{ slow }") == 202
    await asyncio.sleep(0.2)
    assert await operate(shelf, token, BOOK) == 404
    await shelf.nothing_is_left()


async def test_an_operation_for_which_there_is_no_room_leaves_its_id(shelf):
    token, budget = await reserved(shelf), shelf.served.edge.budgets[GRAPH]
    query = BOOK + "#" + "x" * 10_000
    others = budget.snapshot()["limits"]["bytes"] - 15_000  # the request has room, what waits of it has not
    budget.take_bytes(others)
    try:
        assert await operate(shelf, token, query) == 503
    finally:
        budget.give_bytes(others)
    async with hearing(shelf, method="GET", **{TOKEN: token}) as events:
        assert await operate(shelf, token, query) == 202
        assert [(await events.next())[0] for _ in range(2)] == ["next", "complete"]
    await shelf.nothing_is_left()


async def test_so_many_reservations_of_one_user_wait_and_no_more(shelf, monkeypatch):
    monkeypatch.setattr(reservations, "LIFE_S", 1.0)
    user, admin = shelf.served.as_user(), shelf.served.as_admin()
    tokens = [await reserved(shelf) for _ in range(reservations.MOST_WAITING)]
    assert await refused_a_reservation(shelf) == (429, "rate_limit_exceeded")
    await reserved(shelf, admin)
    async with hearing(shelf, method="GET", who=user, **{TOKEN: tokens[0]}):
        await reserved(shelf)  # an open stream waits for nothing
        assert (await refused_a_reservation(shelf))[0] == 429
    await asyncio.sleep(reservations.LIFE_S + 0.1)
    await reserved(shelf)


async def refused_a_reservation(shelf):
    async with shelf.served.client.put(shelf.url, headers=shelf.served.as_user()) as answer:
        return answer.status, (await answer.json(content_type=None))["code"]
