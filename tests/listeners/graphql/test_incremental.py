"""Answers in parts: how they are framed, that they come as they are made, and who gets them whole."""

import asyncio
import json

import pytest

from citadel_edge.listeners.graphql import incremental
from shelf import shelf_on

LATE = '{ book { title ... @defer(label: "later") { late } } books @stream(initialCount: 1) { title } }'
SLOW = "{ book { title ... @defer { slow } } }"
PARTS = "multipart/mixed"


@pytest.fixture
async def shelf(edge_with):
    async with edge_with(options=()) as served, shelf_on(served) as shelf:
        yield shelf


def asking(shelf, query, accept=PARTS):
    return shelf.served.client.post(
        shelf.url, json={"query": query}, headers={**shelf.served.as_user(), "Accept": accept}
    )


class Parts:
    """What comes, part by part, read as RFC 2046 has it."""

    def __init__(self, answer):
        self._answer = answer
        self._rest = b""
        self.closed = False

    async def next(self):
        async with asyncio.timeout(10):
            while self._rest.count(b"\r\n---") < 2:
                data = await self._answer.content.readany()
                assert data, "the answer broke off"
                self._rest += data
            before, part, self._rest = self._rest.split(b"\r\n---", 2)
            self._rest = b"\r\n---" + self._rest
        assert before == b""
        head, _, body = part.partition(b"\r\n\r\n")
        assert head == b"\r\nContent-Type: application/json; charset=utf-8"
        return json.loads(body)

    async def end(self):
        return self._rest + await self._answer.content.read()


async def test_parts_come_as_they_are_made_and_the_last_says_so(shelf):
    async with asking(shelf, LATE) as answer:
        assert answer.status == 200
        assert (answer.content_type, answer.headers["Content-Type"].split("; ")[1]) == (PARTS, 'boundary="-"')
        parts = Parts(answer)
        first = await parts.next()
        assert first["data"] == {"book": {"title": "A Book"}, "books": [{"title": "A Book"}]}
        assert [each["label"] for each in first["pending"] if "label" in each] == ["later"]
        assert first["hasNext"] is True
        rest = [await parts.next()]
        while rest[-1]["hasNext"]:
            rest.append(await parts.next())
        assert await parts.end() == b"\r\n-----\r\n"
    found = [each for part in rest for each in part.get("incremental", ())]
    assert [each["data"] for each in found if "data" in each] == [{"late": "late"}]
    assert sum(len(each["items"]) for each in found if "items" in each) == 2
    assert {each["id"] for part in rest for each in part.get("completed", ())} == {p["id"] for p in first["pending"]}


async def test_a_client_that_knows_an_older_format_or_none_gets_it_whole(shelf):
    for accept in ("multipart/mixed;deferSpec=20220824, application/json", "application/json", "*/*"):
        async with asking(shelf, LATE, accept) as answer:
            assert answer.content_type == "application/json"
            data = (await answer.json())["data"]
            assert (data["book"]["late"], len(data["books"])) == ("late", 3)
    async with asking(shelf, LATE, "multipart/mixed;deferSpec=20220824") as answer:
        assert answer.status == 406
    async with asking(shelf, "{ book { title } }", "multipart/mixed;incrementalSpec=v0.2, application/json") as answer:
        assert answer.content_type == "application/json"
    async with asking(shelf, "{ book { title } }", PARTS) as answer:
        part = await Parts(answer).next()
        assert (part["data"], part["hasNext"]) == ({"book": {"title": "A Book"}}, False)


async def test_silence_is_filled_and_a_client_that_leaves_ends_it(shelf, monkeypatch):
    monkeypatch.setattr(incremental, "HEARTBEAT_S", 0.05)
    async with asking(shelf, SLOW) as answer:
        parts = Parts(answer)
        assert (await parts.next())["data"] == {"book": {"title": "A Book"}}
        assert [await parts.next(), await parts.next()] == [{"hasNext": True}] * 2
        await shelf.until_said("began")
        answer.close()
    await shelf.until_said("cancelled")
    await shelf.nothing_is_left()


async def test_an_answer_that_we_end_says_so_in_its_last_part(shelf):
    async with asking(shelf, SLOW) as answer:
        parts = Parts(answer)
        await parts.next()
        await shelf.until_said("began")
        shelf.served.edge.presence.end_all()
        last = await parts.next()
        assert (last["hasNext"], last["errors"][0]["extensions"]["code"]) == (False, "listener_stopped")
        assert await parts.end() == b"\r\n-----\r\n"
    await shelf.nothing_is_left()
