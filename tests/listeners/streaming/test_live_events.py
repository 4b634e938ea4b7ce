"""`GET /v1/events`: live state as Server-Sent Events, with a place to come back to."""

import asyncio
import json
import socket
from contextlib import asynccontextmanager

import pytest

from citadel_edge.config.shape import ListenerName
from citadel_edge.health.verdict import ListenerState
from citadel_edge.listeners.common import sse
from citadel_edge.telemetry.hub import Topic
from citadel_edge.wire.sse import PING, Decoder

STREAMING = ListenerName.STREAMING
WITHIN_S = 10


class Reader:
    """Events of one answer, one after the other, with the comments between them."""

    def __init__(self, answer):
        self.answer = answer
        self._decoder = Decoder()
        self._found = []

    async def event(self):
        async with asyncio.timeout(WITHIN_S):
            while not self._found:
                data = await self.answer.content.readany()
                if not data:
                    return None
                self._found += self._decoder.feed(data)
        return self._found.pop(0)

    async def told(self, count=1):
        found = [await self.event() for _ in range(count)]
        return [(event.event, json.loads(event.data)) for event in found]


@asynccontextmanager
async def listening(served, query="", headers=None):
    url = served.url(f"/v1/events?{query}", STREAMING)
    async with served.client.get(url, headers={**served.as_admin(), **(headers or {})}) as answer:
        assert answer.status == 200, await answer.text()
        yield Reader(answer)


def value(served, name, **labels):
    registry = served.edge.registries.of(STREAMING)
    labels = {"listener": "streaming-api", **labels}
    return registry.get_sample_value(f"citadel_streaming_{name}", labels) or 0.0


async def until(condition):
    async with asyncio.timeout(WITHIN_S):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.fixture
async def bare(edge_with):
    """An edge without model servers: it publishes nothing of its own accord but its health."""
    async with edge_with(options=()) as served:
        yield served


async def test_the_recent_past_is_told_then_what_happens(edge_with):
    async with edge_with() as served:
        served.edge.set_state(ListenerName.GRAPHQL, ListenerState.STOPPED)
        async with listening(served, "topics=listeners,usage") as reader:
            assert reader.answer.content_type == "text/event-stream"
            while (first := await reader.event()) and json.loads(first.data)["data"]["state"] != "stopped":
                pass
            assert (first.event, json.loads(first.data)["data"]["listener"]) == ("listeners", "graphql-api")
            chat = {"json": served.chat(), "headers": served.as_user()}
            async with served.client.post(served.url("/v1/chat/completions"), **chat):
                pass
            usage = await reader.event()
            assert (usage.event, json.loads(usage.data)["data"]["outcome"]) == ("usage", "done")
            epoch, _, seq = usage.id.partition(":")
            assert epoch == first.id.partition(":")[0] == served.edge.hub.epoch
            assert int(seq) == json.loads(usage.data)["seq"] > json.loads(first.data)["seq"]


async def test_a_heartbeat_comes_before_anything_else_and_after_each_silence(bare, monkeypatch):
    monkeypatch.setattr(sse, "HEARTBEAT_S", 0.05)
    async with listening(bare, "topics=limits") as reader, asyncio.timeout(WITHIN_S):
        for _ in range(3):
            assert await reader.answer.content.readuntil(b"\n") == PING


async def test_no_heartbeat_falls_between_events_that_come_often(bare, monkeypatch):
    monkeypatch.setattr(sse, "HEARTBEAT_S", 0.4)
    async with listening(bare, "topics=limits") as reader:
        for n in range(10):
            bare.edge.hub.publish(Topic.LIMITS, {"n": n})
            await asyncio.sleep(0.1)
        data = await reader.answer.content.readany()
        assert (data.count(PING), data.count(b"event: limits")) == (1, 10)


async def test_what_is_wrong_is_refused_by_name_and_others_may_not_read(bare):
    for query, status, param in (
        ("topics=nonsense", 400, "topics"),
        ("topics=health,", 200, None),
        ("interval_s=0.1", 400, "interval_s"),
        ("interval_s=61", 400, "interval_s"),
        ("interval_s=nan", 400, "interval_s"),
        ("interval_s=often", 400, "interval_s"),
        ("interval_s=0.2", 200, None),
        ("after=yesterday", 400, "after"),
    ):
        url = bare.url(f"/v1/events?{query}", STREAMING)
        async with bare.client.get(url, headers=bare.as_admin()) as answer:
            assert answer.status == status, query
            assert status == 200 or param in (await answer.text())
    assert value(bare, "resumes_total", outcome="refused") == 1
    async with bare.client.get(bare.url("/v1/events", STREAMING), headers=bare.as_user()) as answer:
        assert answer.status == 403


async def test_a_reader_that_comes_back_gets_exactly_what_it_has_not_seen(bare):
    hub = bare.edge.hub
    async with listening(bare, "topics=limits,usage") as reader:
        for n in range(5):
            hub.publish(Topic.LIMITS, {"n": n})
        seen = [await reader.event() for _ in range(2)]
    hub.publish(Topic.USAGE, {"n": 5})
    cursor = seen[-1].id
    for query, headers in ((f"&after={cursor}", {}), ("&after=old:1", {"Last-Event-ID": cursor})):
        async with listening(bare, f"topics=limits,usage{query}", headers) as reader:
            ((name, recovered),) = await reader.told()
            assert (name, recovered) == ("recovered", {"recovered": "full", "after": cursor})
            assert [data["data"]["n"] for _, data in await reader.told(4)] == [2, 3, 4, 5]
    assert value(bare, "resumes_total", outcome="full") == 2


async def test_a_reader_that_cannot_go_on_is_told_so_and_gets_what_is_there(bare):
    hub = bare.edge.hub
    seq = hub.seq + 1
    for n in range(1100):
        hub.publish(Topic.LIMITS, {"n": n})
    gone = seq + 1100 - 1024 - 1
    lost = {"from": f"{hub.epoch}:{seq + 1}", "to": f"{hub.epoch}:{gone}"}
    for after, missing in (("foreign0:1", None), (f"{hub.epoch}:99999", None), (f"{hub.epoch}:{seq}", lost)):
        async with listening(bare, "topics=limits", {"Last-Event-ID": after}) as reader:
            (_, told), (_, first) = await reader.told(2)
            assert (told["recovered"], told["after"], told["reason"] != "") == ("none", after, True)
            assert (told["lost"], first["seq"]) == (missing, gone + 1)
    assert value(bare, "resumes_total", outcome="none") == 3


async def test_metrics_come_at_the_interval_and_never_move_the_cursor_back(bare):
    hub = bare.edge.hub
    async with listening(bare, "topics=metrics,limits&interval_s=0.2") as reader:
        seen = []
        async with asyncio.timeout(WITHIN_S):
            while len([event for event in seen if event.event == "metrics"]) < 4:
                hub.publish(Topic.LIMITS, {"at": len(seen)})
                seen += [await reader.event()]
        at = [json.loads(event.data)["at"] for event in seen if event.event == "metrics"]
        assert 0.4 < at[3] - at[0] < 2.0, "three times 0.2 s"
        cursors = [int(event.id.partition(":")[2]) for event in seen]
        assert cursors == sorted(cursors)


async def test_a_reader_that_falls_behind_is_told_what_it_missed(bare):
    hub = bare.edge.hub
    async with listening(bare, "topics=limits") as reader:
        before = hub.seq
        for n in range(1500):  # in one turn of the loop: nobody could have read them
            hub.publish(Topic.LIMITS, {"n": n})
        (name, lost), (_, first) = await reader.told(2)
        assert (name, lost["count"], first["data"]["n"]) == ("lost", 476, 476)
        assert lost == {"count": 476, "from": f"{hub.epoch}:{before + 1}", "to": f"{hub.epoch}:{before + 476}"}


async def test_a_reader_that_takes_nothing_is_let_go_and_costs_nobody_anything(bare, monkeypatch):
    monkeypatch.setattr(sse, "SEND_WITHIN_S", 0.5)
    monkeypatch.setattr(sse, "LAST_WORDS_S", 0.2)
    hub, budget = bare.edge.hub, bare.edge.budgets[STREAMING]
    held = 0
    async with asyncio.timeout(60), listening(bare, "topics=limits") as other:
        with deaf(bare):
            await until(lambda: hub.subscribers()[Topic.LIMITS] == 2)
            sent = 0
            while hub.subscribers()[Topic.LIMITS] == 2:
                hub.publish(Topic.LIMITS, {"n": sent, "text": "x" * 60_000})
                ((_, told),) = await other.told()
                assert told["data"]["n"] == sent, "the other reader misses nothing"
                sent += 1
                held = max(held, budget.snapshot()["bytes"])
            assert 0 < held < 500_000
        await until(lambda: value(bare, "disconnects_total", transport="sse", reason="slow") == 1)
    assert budget.snapshot()["bytes"] == 0
    said = [json.loads(line) for line in bare.log.getvalue().splitlines() if "slow reader closed" in line]
    assert said[0]["after"].startswith(hub.epoch)


async def test_a_reader_that_wakes_up_late_is_told_where_to_come_back(bare, monkeypatch):
    monkeypatch.setattr(sse, "SEND_WITHIN_S", 0.3)
    hub = bare.edge.hub
    async with asyncio.timeout(60):
        with deaf(bare) as stuck:
            await until(lambda: hub.subscribers()[Topic.LIMITS] == 1)
            while bare.edge.budgets[STREAMING].snapshot()["bytes"] < 2**16:
                hub.publish(Topic.LIMITS, {"text": "x" * 60_000})
                await asyncio.sleep(0.01)
            for _ in range(2):
                hub.publish(Topic.LIMITS, {"text": "x" * 60_000})
            await asyncio.sleep(0.5)
            events = Decoder().feed(unchunked(await asyncio.to_thread(everything, stuck)))
    closed = json.loads(events[-1].data)
    assert (events[-1].event, closed["reason"]) == ("closed", "slow")
    ids = [event.id for event in events if event.id]
    assert int(closed["after"].partition(":")[2]) <= int(ids[-1].partition(":")[2])


async def test_a_draining_edge_tells_where_to_come_back(bare):
    async with listening(bare, "topics=limits") as reader:
        bare.edge.hub.publish(Topic.LIMITS, {})
        event = await reader.event()
        bare.edge.hub.close()
        ((name, told),) = await reader.told()
        assert (name, told) == ("moved", {"after": event.id})
        assert await reader.event() is None
    await until(lambda: value(bare, "disconnects_total", transport="sse", reason="draining") == 1)


async def test_readers_who_leave_leave_nothing_behind(bare):
    for _ in range(3):
        async with listening(bare):
            assert value(bare, "connections", transport="sse") == 1
        await until(lambda: value(bare, "connections", transport="sse") == 0)
    assert sum(bare.edge.hub.subscribers().values()) == 0
    assert bare.edge.budgets[STREAMING].snapshot()["tasks"] == 0
    assert value(bare, "disconnects_total", transport="sse", reason="client") == 3


class deaf:  # noqa: N801 - reads as a function
    """A client that asks for live state and then takes nothing."""

    def __init__(self, served):
        address = served.doors[STREAMING].address
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.connect(address)
        head = (
            f"GET /v1/events?topics=limits HTTP/1.1\r\nHost: x\r\nAuthorization: {served.as_admin()['Authorization']}"
        )
        self._socket.sendall(f"{head}\r\n\r\n".encode())

    def __enter__(self):
        return self._socket

    def __exit__(self, *exc):
        self._socket.close()


def everything(taken):
    """All that the client can still read."""
    taken.settimeout(2)
    data = b""
    while True:
        try:
            more = taken.recv(65536)
        except OSError:
            return data
        if not more:
            return data
        data += more


def unchunked(data):
    body = b""
    rest = data.partition(b"\r\n\r\n")[2]
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        body, rest = body + rest[:length], rest[length + 2 :]
    return body
