"""The same batch, in the two spellings."""

import json

import pytest

from citadel_edge.errors import Code, RequestError
from citadel_edge.listeners.streaming.dialects import Dialect, Script
from citadel_edge.streams.cursor import Cursor
from citadel_edge.streams.values import Batch, State, Terminal
from citadel_edge.wire.sse import Decoder

TEXTS = [b'{"n":1}', b'{"n":2}', '{"n":"🙂"}'.encode()]
DONE = Terminal(outcome=State.DONE, usage={"total_tokens": 3}, cost_usd=0.5, attempts=2)


def batch(payloads=(), first=1, **fields):
    return Batch(first=first, payloads=list(payloads), epoch="abc", **fields)


def read(data):
    return [(event.event, event.id, event.retry_ms, event.data) for event in Decoder().feed(data)]


def test_openai_s_sdks_see_data_alone():
    script = Script(Dialect.OPENAI)
    assert script.batch(batch(TEXTS)) == b"".join(b"data: " + text + b"\n\n" for text in TEXTS)
    assert script.batch(batch([TEXTS[0]], first=4, terminal=DONE)) == b'data: {"n":1}\n\ndata: [DONE]\n\n'
    assert script.batch(batch()) == b""
    assert script.moved(Cursor("abc", 4)) == b""


@pytest.mark.parametrize("outcome", [State.ERROR, State.TRUNCATED, State.CANCELLED])
def test_a_broken_answer_ends_with_an_error_object_and_never_looks_done(outcome):
    told = {"message": "gone", "type": "server_error", "param": None, "code": "upstream_error"}
    for error in (told, None):
        data = Script(Dialect.OPENAI).batch(batch(first=3, terminal=Terminal(outcome=outcome, error=error)))
        ((event, identity, retry, body),) = read(data)
        assert (event, identity, retry) == (None, None, None)
        assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
        assert b"[DONE]" not in data


def test_cursors_count_events_and_the_end_has_one_of_its_own():
    script = Script(Dialect.RESUMABLE)
    first = read(script.batch(batch(TEXTS, first=5)))
    assert [(identity, body) for _, identity, _, body in first] == [
        (f"abc:{5 + n}", text) for n, text in enumerate(TEXTS)
    ]
    ((event, identity, _, body),) = read(script.batch(batch(first=8, terminal=DONE)))
    assert (event, identity) == ("done", "abc:8")
    assert json.loads(body) == {"outcome": "done", "usage": {"total_tokens": 3}, "cost_usd": 0.5, "attempts": 2}


def test_when_to_come_back_is_told_once_and_with_data():
    script = Script(Dialect.RESUMABLE)
    assert [retry for _, _, retry, _ in read(script.batch(batch(TEXTS)) + script.batch(batch(TEXTS, first=4)))] == [
        1000,
        *[None] * 5,
    ]


def test_a_loss_stands_before_what_follows_it():
    data = Script(Dialect.RESUMABLE).batch(batch([TEXTS[0]], first=9, lost=(3, 8)))
    assert [(event, body) for event, _, _, body in read(data)] == [("lost", b'{"lost":[3,8]}'), (None, TEXTS[0])]


@pytest.mark.parametrize("end", [{}, {"terminal": DONE}, {"moved": True}])
def test_where_nothing_else_can_tell_a_loss_it_is_the_end(end):
    behind = batch([TEXTS[0]], first=9, lost=(3, 8), **end)
    script = Script(Dialect.OPENAI)
    ((event, identity, retry, body),) = read(script.batch(behind))
    assert (event, identity, retry) == (None, None, None)
    error = json.loads(body)["error"]
    assert (error["type"], error["code"], "Events 3 to 8" in error["message"]) == ("api_error", "lost", True)
    assert script.breaks_at(behind)
    assert not script.breaks_at(batch([TEXTS[0]], first=9, **end))
    assert not Script(Dialect.RESUMABLE).breaks_at(behind)


def test_an_unknown_dialect_is_named_with_those_there_are():
    assert Dialect.named(None, Dialect.OPENAI) is Dialect.OPENAI
    assert Dialect.named(" Resumable ", Dialect.OPENAI) is Dialect.RESUMABLE
    with pytest.raises(RequestError, match="openai or resumable, got 'klingon'") as refused:
        Dialect.named("klingon", Dialect.OPENAI)
    assert refused.value.code is Code.INVALID_REQUEST
