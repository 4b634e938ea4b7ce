"""Upstream bytes in, client bytes and facts out, whatever the cuts."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.completions.relay import LAST_PARTS, Relay, read_whole
from citadel_edge.errors import UpstreamError, UpstreamFault
from citadel_edge.fleet.engines.dialect import UsageAlong
from completions.scripted import DONE, SPOKEN, chunk, event, usage_chunk

TEXT = b"".join(SPOKEN)
WORDS = [chunk("Zoë "), chunk("naïve \N{SNOWMAN}"), chunk("日本"), chunk(finish="stop")]


def relayed(*pieces: bytes, strip_usage: bool = True) -> tuple[bytes, Relay]:
    relay = Relay(strip_usage=strip_usage)
    return b"".join(relay.feed(piece) for piece in pieces), relay


def test_the_usage_chunk_and_the_terminal_stay_here() -> None:
    out, relay = relayed(*SPOKEN)
    assert out == b"".join(SPOKEN[:3])
    assert relay.done
    assert relay.usage is not None
    assert (relay.usage.prompt_tokens, relay.usage.completion_tokens) == (7, 2)
    assert relay.content_chunks == 2
    relay.end()


def test_a_client_that_asked_gets_the_usage_chunk() -> None:
    out, _ = relayed(*SPOKEN, strip_usage=False)
    assert out == b"".join(SPOKEN[:4])


def test_usage_on_a_chunk_with_choices_counts_and_passes() -> None:
    data = event(
        {
            "choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 1},
        }
    )
    out, relay = relayed(data)
    assert out == data
    assert relay.usage is not None
    assert relay.usage.prompt_tokens == 3


def test_zeroes_and_nulls_are_no_usage() -> None:
    zero = {"choices": [{"index": 0, "text": "a"}], "usage": {"prompt_tokens": 0, "completion_tokens": 0}}
    null = {"choices": [{"index": 0, "text": "b"}], "usage": None}
    out, relay = relayed(event(zero), event(null))
    assert out == event(zero) + event(null)
    assert relay.usage is None
    assert relay.content_chunks == 2


def test_an_event_with_neither_choices_nor_usage_passes() -> None:
    data = event({"choices": [], "prompt_filter_results": [{"a": 1}]})
    assert relayed(data)[0] == data


@pytest.mark.parametrize("field", ["content", "reasoning", "reasoning_content", "refusal"])
def test_every_kind_of_text_is_a_token(field: str) -> None:
    assert relayed(event({"choices": [{"index": 0, "delta": {field: "x"}}]}))[1].content_chunks == 1
    assert relayed(event({"choices": [{"index": 0, "delta": {field: ""}}]}))[1].content_chunks == 0


def test_tool_calls_are_tokens_and_roles_are_none() -> None:
    call = {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}}]}
    role = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}
    assert relayed(event(call))[1].content_chunks == 1
    assert relayed(event(role))[1].content_chunks == 0


def opening(index: int = 0) -> bytes:
    return event({"choices": [{"index": index, "delta": {"role": "assistant", "content": ""}}]})


def test_what_only_opens_a_message_waits_for_the_next_event() -> None:
    relay = Relay(strip_usage=True)
    assert relay.feed(opening(0)) == b""
    assert relay.feed(opening(1)) == b""
    assert relay.feed(chunk("a")) == opening(0) + opening(1) + chunk("a")
    assert relay.feed(chunk("b")) == chunk("b")


@pytest.mark.parametrize(
    "after", [chunk(finish="stop"), DONE, event({"choices": [{"index": 0, "delta": {"audio": 1}}]})]
)
def test_an_opening_passes_with_whatever_follows(after: bytes) -> None:
    out, _ = relayed(opening(), after)
    assert out == opening() + after.replace(DONE, b"")


@pytest.mark.parametrize("after", [b"", b"data: {{\n\n", event({"error": "no"})])
def test_an_opening_that_nothing_follows_does_not_pass(after: bytes) -> None:
    out, relay = relayed(opening(), after)
    assert out == b""
    with pytest.raises(UpstreamError):
        relay.end()


def test_comments_ids_and_events_names_do_not_pass() -> None:
    noisy = b": hello\n\nid: 5\nevent: message\nretry: 10\n" + chunk("a") + b":\n\n"
    assert relayed(noisy)[0] == chunk("a")


def test_data_over_several_lines_passes_as_one() -> None:
    payload = json.dumps({"choices": [{"index": 0, "delta": {"content": "a"}}]}, indent=1).encode()
    torn = b"".join(b"data: " + line + b"\n" for line in payload.split(b"\n")) + b"\n"
    out, relay = relayed(chunk("x") + torn)
    assert out.count(b"\n") == 4
    assert [json.loads(one[6:])["choices"][0]["delta"]["content"] for one in out.split(b"\n\n")[:2]] == ["x", "a"]
    assert relay.content_chunks == 2


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_any_cut_and_any_line_end_give_the_same(line_end: bytes) -> None:
    text = b"".join([*WORDS, usage_chunk(1, 3), DONE]).replace(b"\n", line_end)
    for cut in range(1, len(text)):
        out, relay = relayed(text[:cut], text[cut:])
        assert out == b"".join(WORDS)
        assert (relay.content_chunks, relay.done, relay.failure) == (3, True, None)


@given(cuts=st.lists(st.integers(0, len(TEXT)), max_size=30))
def test_many_cuts_give_the_same(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(TEXT)]
    out, relay = relayed(*(TEXT[start:end] for start, end in itertools.pairwise(places)))
    assert out == b"".join(SPOKEN[:3])
    relay.end()


def test_only_whole_events_pass() -> None:
    relay = Relay(strip_usage=True)
    assert relay.feed(chunk("a")[:-1]) == b""
    assert relay.feed(b"\n" + chunk("b")[:20]) == chunk("a")
    with pytest.raises(UpstreamError) as caught:
        relay.end()
    assert caught.value.fault is UpstreamFault.TRUNCATED


@pytest.mark.parametrize(
    "bad",
    [
        b"data: {\n\n",
        b"data: [1]\n\n",
        b"data: not json\n\n",
        b'data: {"choices": [{"index": 0, "delta": {"content": "\xff"}}]}\n\n',
        b'data: {"elsewhere": "\xc3"}\n\n',
        b'data: {"choices": "many"}\n\n',
        b"data: " + b"[" * 5000 + b"]" * 5000 + b"\n\n",
    ],
)
def test_a_broken_event_ends_the_stream_after_what_was_good(bad: bytes) -> None:
    out, relay = relayed(chunk("a") + bad + chunk("b"))
    assert out == chunk("a")
    assert relay.over
    with pytest.raises(UpstreamError) as caught:
        relay.end()
    assert caught.value.fault is UpstreamFault.MALFORMED


def test_an_event_without_end_is_bounded() -> None:
    relay = Relay(strip_usage=True)
    for _ in range(5):
        relay.feed(b"data: " + b"x" * 2**20)
    assert relay.failure is not None
    assert relay.failure.fault is UpstreamFault.MALFORMED


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        ({"message": "out of memory", "code": 500}, 500, "out of memory"),
        ({"message": "too long", "code": 400, "type": "BadRequestError"}, 400, "too long"),
        ({"message": "x", "code": "server_error"}, 500, "x"),
        ({"message": "x", "code": 7}, 500, "x"),
        ("generation failed", 500, "generation failed"),
        ({}, 500, "without a reason"),
    ],
)
def test_an_error_inside_a_stream_is_an_error(error: object, status: int, words: str) -> None:
    out, relay = relayed(chunk("a"), event({"error": error}), DONE)
    assert out == chunk("a")
    assert relay.failure is not None
    assert (relay.failure.fault, relay.failure.status) == (UpstreamFault.STATUS, status)
    assert words in relay.failure.body.decode()
    assert words not in str(relay.failure), "an engine's words may hold a prompt's"


@pytest.mark.parametrize(
    ("pieces", "whole"),
    [
        ([chunk("a"), chunk(finish="stop")], True),
        ([chunk("a"), chunk(finish="length"), usage_chunk(1, 1)], True),
        ([chunk("a", index=0), chunk("b", index=1), chunk(finish="stop", index=1), chunk(finish="stop")], True),
        ([chunk("a", index=0), chunk("b", index=1), chunk(finish="stop", index=1)], False),
        ([chunk("a")], False),
        ([usage_chunk(1, 1)], False),
        ([], False),
        ([chunk(finish="stop"), b"data: {"], False),
    ],
)
def test_a_stream_without_terminal_is_whole_only_when_every_choice_finished(
    pieces: list[bytes], *, whole: bool
) -> None:
    _, relay = relayed(*pieces)
    if whole:
        relay.end()
    else:
        with pytest.raises(UpstreamError):
            relay.end()


def test_nothing_after_the_terminal_matters() -> None:
    out, relay = relayed(chunk("a") + DONE + chunk("b") + b"data: {{{\n\n")
    assert out == chunk("a")
    assert relay.failure is None
    relay.end()


def test_the_usage_of_a_whole_answer_is_read() -> None:
    usage = read_whole(b'{"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 0}, "new": [1e999]}')
    assert usage is not None
    assert usage.prompt_tokens == 5
    assert read_whole(b'{"usage": {"prompt_tokens": 0}}') is None
    assert read_whole(b"{}") is None


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"usage": 5}', b'{"choices": [{"text": "\xff"}]}', b'{"a'])
def test_what_is_no_answer_is_malformed(body: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        read_whole(body)
    assert caught.value.fault is UpstreamFault.MALFORMED


def test_an_error_under_the_status_200_is_an_error() -> None:
    with pytest.raises(UpstreamError) as caught:
        read_whole(b'{"error": {"message": "no", "code": 503}}')
    assert (caught.value.fault, caught.value.status) == (UpstreamFault.STATUS, 503)


def counted(text: str, usage: object) -> bytes:
    return event(
        {"id": "c", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}], "usage": usage}
    )


ALONG = {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}}


@pytest.mark.parametrize(("along", "left"), [(UsageAlong.ABSENT, None), (UsageAlong.NULL, {"usage": None})])
def test_counts_that_were_asked_for_on_our_own_account_are_taken_out(along: UsageAlong, left: object) -> None:
    relay = Relay(strip_usage=True, along=along)
    out = relay.feed(counted("a b c", ALONG).replace(b", ", b",").replace(b": {", b":{"))
    rest = json.loads(out.removeprefix(b"data: "))
    assert rest.pop("id") == "c"
    assert rest.pop("choices")[0]["delta"] == {"content": "a b c"}
    assert rest == (left or {})
    assert (relay.prompt_tokens, relay.generated) == (7, 3)
    assert not relay.usage_passed


def test_tokens_are_those_counted_and_a_chunk_each_since() -> None:
    _, relay = relayed(chunk("a"), counted("b c", ALONG), chunk("d"), chunk("e"))
    assert relay.generated == 5
    assert relayed(chunk("a"), chunk("b"))[1].generated == 2
    assert relayed(*SPOKEN)[1].generated == 2


def test_the_last_count_passes_where_it_always_stood() -> None:
    timings = {"cache_n": 1, "prompt_n": 4, "predicted_n": 3, "predicted_ms": 0.5}
    said = {"choices": [{"index": 0, "delta": {"content": "a b"}}]}
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "timings": timings}
    relay = Relay(strip_usage=True, along=UsageAlong.TIMINGS)
    passed = relay.feed(event({**said, "timings": {**timings, "predicted_n": 2}}))
    assert json.loads(passed.removeprefix(b"data: ")) == said
    assert (relay.prompt_tokens, relay.generated) == (5, 2)
    assert relay.feed(event(last)) == event(last)
    assert relay.generated == 3


@pytest.mark.parametrize("timings", [1, [], {"cache_n": "x", "prompt_n": 1, "predicted_n": 1}, {}])
def test_timings_that_say_nothing_are_no_count(timings: object) -> None:
    relay = Relay(strip_usage=True, along=UsageAlong.TIMINGS)
    assert relay.feed(event({"choices": [{"index": 0, "delta": {"content": "a"}}], "timings": timings}))
    assert (relay.usage, relay.generated, relay.failure) == (None, 1, None)


def test_what_is_said_is_written_down_only_when_told_to() -> None:
    relay = Relay(strip_usage=True, recording=True)
    relay.feed(opening() + chunk("a"))
    relay.feed(chunk("") + chunk(" b") + event({"choices": [{"index": 0, "text": " c"}]}))
    assert relay.said == ["a", " b", " c"]
    assert relayed(chunk("a"))[1].said is None
    assert relay.first == opening().removeprefix(b"data: ").rstrip()


def test_of_a_long_text_only_the_last_parts_are_kept_apart() -> None:
    relay = Relay(strip_usage=True, recording=True)
    parts = [f" {number}" for number in range(5 * LAST_PARTS)]
    for part in parts:
        relay.feed(chunk(part))
    assert "".join(relay.said) == "".join(parts)
    assert relay.said[-LAST_PARTS:] == parts[-LAST_PARTS:]
    assert len(relay.said) < 2 * LAST_PARTS


def test_an_answer_is_finished_when_every_choice_is() -> None:
    assert not relayed(chunk("a"))[1].finished
    assert relayed(chunk("a"), chunk(finish="stop"))[1].finished
    assert not relayed()[1].finished
