import asyncio

import aiohttp
import pytest
import structlog
from aiohttp import web

from citadel_edge.config.shape import ListenerName
from citadel_edge.health.board import Board, http_probe
from citadel_edge.health.verdict import Check, Condition, ListenerState, Status
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.hub import Hub, Topic

CLOCK = Clock()


@pytest.fixture
def hub():
    return Hub(CLOCK)


@pytest.fixture
def board(hub):
    return Board(clock=CLOCK, hub=hub, log=structlog.get_logger())


def answering(condition, detail="seen"):
    async def probe():
        return Check(condition, detail, 1.0)

    return probe


async def test_what_was_never_asked_is_unknown_and_degrades(board):
    board.ask("redis", answering(Condition.UP))
    assert board.verdict(ListenerName.RATE_LIMITING).status is Status.DEGRADED
    await board.look_once()
    assert board.verdict(ListenerName.RATE_LIMITING).status is Status.HEALTHY


async def test_a_frozen_dependency_is_down_within_its_time_and_holds_no_other_up(board, monkeypatch):
    monkeypatch.setattr("citadel_edge.health.board.ASK_WITHIN_S", 0.1)

    async def frozen():
        await asyncio.sleep(3600)
        raise AssertionError

    board.ask("redis", frozen)
    board.ask("postgres", answering(Condition.UP))
    await board.look_once()
    assert board.checks()["redis"].condition is Condition.DOWN
    assert "no answer within" in board.checks()["redis"].detail
    assert board.checks()["postgres"].condition is Condition.UP


async def test_a_probe_that_breaks_is_a_dependency_that_is_down(board):
    async def broken():
        raise KeyError("secret text")

    board.ask("redis", broken)
    await board.look_once()
    assert board.checks()["redis"] == Check(Condition.DOWN, "KeyError")


async def test_a_glance_is_fresh_at_each_reading(board):
    seen = iter([Condition.UP, Condition.DOWN])
    board.glance("upstreams", lambda: Check(next(seen), "now"))
    assert board.verdict(ListenerName.ROUTING).status is Status.HEALTHY
    assert board.verdict(ListenerName.ROUTING).status is Status.UNHEALTHY


async def test_a_change_is_published_once(board, hub):
    conditions = iter([Condition.UP, Condition.UP, Condition.DOWN, Condition.DOWN, Condition.UP])

    async def probe():
        return Check(next(conditions), "seen")

    board.ask("redis", probe)
    for _ in range(5):
        await board.look_once()
    told = [m.payload["status"] for m in hub.last(Topic.HEALTH, 99) if m.payload["service"] == "rate-limiting-api"]
    assert told == ["healthy", "degraded", "healthy"]


async def test_it_keeps_asking_until_it_is_stopped(board, monkeypatch):
    monkeypatch.setattr("citadel_edge.health.board.ASK_EVERY_S", 0.01)
    asked = asyncio.Semaphore(0)

    async def probe():
        asked.release()
        return Check(Condition.UP, "seen")

    board.ask("redis", probe)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(board.run())
        for _ in range(3):
            await asyncio.wait_for(asked.acquire(), 10)
        task.cancel()


async def test_a_stopped_listener_is_unhealthy_whatever_its_dependencies_say(board):
    board.states[ListenerName.GRAPHQL] = ListenerState.STOPPED
    assert board.verdict(ListenerName.GRAPHQL).message == "GraphQL API stopped"


@pytest.mark.parametrize(("status", "condition"), [(200, Condition.UP), (404, Condition.UP), (503, Condition.DOWN)])
async def test_anything_under_500_is_an_answer(aiohttp_server, status, condition):
    async def answer(_):
        return web.Response(status=status)

    app = web.Application()
    app.router.add_get("/-/healthy", answer)
    server = await aiohttp_server(app)
    async with aiohttp.ClientSession() as session:
        check = await http_probe(session, str(server.make_url("")), "/-/healthy", CLOCK)()
    assert check.condition is condition
    assert check.detail == f"answers {status}"


async def test_nobody_listening_is_down_and_no_url_is_absent(unused_tcp_port):
    async with aiohttp.ClientSession() as session:
        gone = await http_probe(session, f"http://127.0.0.1:{unused_tcp_port}", "/", CLOCK)()
        absent = await http_probe(session, None, "/", CLOCK)()
    assert (gone.condition, absent.condition) == (Condition.DOWN, Condition.ABSENT)
