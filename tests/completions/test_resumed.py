"""The stream of a replica that goes on: as a part of the first one's answer, whatever the cuts."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.completions.continuation import NotContinued, listen, resume
from citadel_edge.completions.resumed import Resumed
from citadel_edge.config.shape import Engine
from citadel_edge.errors import UpstreamError, UpstreamFault
from citadel_edge.fleet.engines.known import dialect_of
from completions.continued import request_of, text_of
from completions.scripted import DONE, event

ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}]}
USAGE: dict[str, Any] = {**ASKED, "stream_options": {"include_usage": True}}
FIRST = {"id": "first", "object": "chat.completion.chunk", "created": 1, "model": "one"}
SECOND = {"id": "second", "object": "chat.completion.chunk", "created": 2, "model": "two", "system_fingerprint": "fp"}


def say(head: dict[str, Any], text: str | None = None, *, finish: str | None = None, **more: Any) -> bytes:
    delta = {"role": "assistant"} if text is None and finish is None else {"content": text} if text else {}
    return event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more})


def tell(head: dict[str, Any], tokens_in: int, tokens_out: int, **more: Any) -> bytes:
    usage = {
        "prompt_tokens": tokens_in,
        "completion_tokens": tokens_out,
        "total_tokens": tokens_in + tokens_out,
        **more,
    }
    return event({**head, "choices": [], "usage": usage})


def broken(
    body: dict[str, Any] = ASKED, *said: str, engine: str = "llamacpp", usage: dict[str, int] | None = None
) -> Any:
    relay = listen(request_of(body), dialect_of(Engine(engine)), recording=True)
    for text in (None, *(said or ("The", " old", " dog"))):
        relay.feed(say(FIRST, text, **({"usage": usage} if usage else {})))
    return relay


def going_on(relay: Any, body: dict[str, Any] = ASKED, engine: str = "llamacpp") -> Resumed:
    return resume(request_of(body), relay, dialect=dialect_of(Engine(engine)))


def chunks(out: bytes) -> list[dict[str, Any]]:
    return [json.loads(one.removeprefix(b"data: ")) for one in out.split(b"\n\n") if one]


def text(out: bytes) -> str:
    return "".join(text_of(choice) for one in chunks(out) for choice in one["choices"])


REST = b"".join([say(SECOND), say(SECOND, " \N{ROCKET}"), say(SECOND, " ends."), say(SECOND, finish="stop")])
WHOLE = REST + tell(SECOND, 12, 2, prompt_tokens_details={"cached_tokens": 11}) + DONE


def test_its_chunks_are_the_first_answer_s() -> None:
    relay = going_on(broken(USAGE), USAGE)
    out = relay.feed(WHOLE)
    assert all({name: one.get(name) for name in FIRST} == FIRST for one in chunks(out))
    assert not any("system_fingerprint" in one for one in chunks(out))
    assert not any("role" in choice["delta"] for one in chunks(out) for choice in one["choices"])
    assert text(out) == " \N{ROCKET} ends."
    assert chunks(out)[-2]["choices"][0]["finish_reason"] == "stop"
    assert relay.done
    relay.end()


def test_usage_counts_both_parts_and_the_prompt_once() -> None:
    relay = going_on(broken(USAGE), USAGE)
    usage = chunks(relay.feed(WHOLE))[-1]["usage"]
    assert usage == {
        "prompt_tokens": 9,
        "completion_tokens": 5,
        "total_tokens": 14,
        "prompt_tokens_details": {"cached_tokens": 9},
    }
    assert (relay.prompt_tokens, relay.generated, relay.usage_passed) == (9, 5, True)
    known = going_on(broken(USAGE, engine="vllm", usage={"prompt_tokens": 8, "completion_tokens": 6}), USAGE)
    assert chunks(known.feed(WHOLE))[-1]["usage"]["total_tokens"] == 8 + 6 + 2


@pytest.mark.parametrize("details", [None, 5, {}, {"cached_tokens": None}, {"cached_tokens": "many"}])
def test_details_of_any_kind_pass(details: Any) -> None:
    relay = going_on(broken(USAGE), USAGE)
    usage = chunks(relay.feed(REST + tell(SECOND, 12, 2, prompt_tokens_details=details) + DONE))[-1]["usage"]
    assert (usage["prompt_tokens_details"], usage["total_tokens"]) == (details, 14)


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_counts_along_are_taken_out_or_count_both(engine: str) -> None:
    counted = {"usage": {"prompt_tokens": 12, "completion_tokens": 2, "total_tokens": 14}}
    (one,) = chunks(going_on(broken(), engine=engine).feed(say(SECOND, " is so", **counted)))
    assert one.get("usage") is None
    asked = {**ASKED, "stream_options": {"continuous_usage_stats": True}}
    (one,) = chunks(going_on(broken(asked), asked, engine=engine).feed(say(SECOND, " is so", **counted)))
    assert one["usage"] == {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}


def test_a_terminal_without_an_end_lets_go_of_what_is_held_back() -> None:
    relay = going_on(broken(ASKED, "The old dog slept by the fire"))
    assert text(relay.feed(say(SECOND, "The old") + DONE)) == "The old"
    relay.end()


def test_a_raw_completion_s_chunks_are_texts() -> None:
    raw = {"prompt": "once"}
    relay = listen(request_of(raw), dialect_of(Engine.LLAMACPP), recording=True)
    relay.feed(event({**FIRST, "choices": [{"index": 0, "text": "The old"}]}))
    (one,) = chunks(going_on(relay, raw).feed(event({**SECOND, "choices": [{"index": 0, "text": "The old dog"}]})))
    assert one["choices"] == [{"index": 0, "text": " dog"}]


def test_who_did_not_ask_for_usage_gets_none() -> None:
    relay = going_on(broken())
    assert not any("usage" in one for one in chunks(relay.feed(WHOLE)))
    assert (relay.prompt_tokens, relay.generated) == (9, 5)


@pytest.mark.parametrize("asked", [ASKED, USAGE])
def test_every_cut_gives_the_same(asked: dict[str, Any]) -> None:
    expected = going_on(broken(asked), asked).feed(WHOLE)
    for place in range(1, len(WHOLE)):
        relay = going_on(broken(asked), asked)
        assert relay.feed(WHOLE[:place]) + relay.feed(WHOLE[place:]) == expected
        relay.end()


@given(cuts=st.lists(st.integers(0, 10**6), max_size=30), repeats=st.booleans())
def test_many_cuts_give_the_same(cuts: list[int], *, repeats: bool) -> None:
    """Also of a replica that says again what was said."""
    stream = b"".join(say(SECOND, word) for word in ("The", " old", " dog")) * repeats + WHOLE
    places = [0, *sorted(cut % len(stream) for cut in cuts), len(stream)]
    relay = going_on(broken(USAGE), USAGE)
    out = b"".join(relay.feed(stream[start:end]) for start, end in itertools.pairwise(places))
    assert text(out) == " \N{ROCKET} ends."
    relay.end()


def test_tokens_said_again_are_not_charged_again() -> None:
    relay = going_on(broken(USAGE), USAGE)
    again = b"".join(say(SECOND, word) for word in ("The", " old", " dog"))
    out = relay.feed(again + REST + tell(SECOND, 12, 5) + DONE)
    assert chunks(out)[-1]["usage"]["completion_tokens"] == 5


def test_an_echo_in_the_same_chunk_as_the_rest_is_cut_inside_it() -> None:
    relay = going_on(broken())
    logged = say(SECOND, "The old dog is").replace(b'"finish_reason"', b'"logprobs": {"content": []}, "finish_reason"')
    (one,) = chunks(relay.feed(logged))
    assert one["choices"][0]["delta"]["content"] == " is"
    assert one["choices"][0]["logprobs"] is None


def test_another_answer_is_no_part_of_this_one() -> None:
    said = "It was a bright cold day in April, and the clocks were striking thirteen. Then"
    relay = going_on(broken(ASKED, said))
    out = relay.feed(say(SECOND)) + relay.feed(say(SECOND, said[:70] + "twelve")) + relay.feed(say(SECOND, "."))
    assert out == b""
    assert isinstance(relay.failure, NotContinued)
    assert relay.generated == 1
    with pytest.raises(NotContinued):
        relay.end()


@pytest.mark.parametrize(
    "delta", [{"reasoning": "hm"}, {"tool_calls": [{"index": 0}]}, {"refusal": "no"}, {"content": [{"type": "text"}]}]
)
@pytest.mark.parametrize("before", [b"", say(SECOND, " is")])
def test_whoever_begins_to_think_or_to_call_does_not_go_on(delta: dict[str, Any], before: bytes) -> None:
    relay = going_on(broken())
    out = relay.feed(before + event({**SECOND, "choices": [{"index": 0, "delta": delta}]}))
    assert text(out) == (" is" if before else "")
    assert isinstance(relay.failure, NotContinued)


@pytest.mark.parametrize("index", [1, 0])
def test_a_second_choice_is_none_of_it(index: int) -> None:
    relay = going_on(broken())
    choice = {"index": 0, "delta": {"content": " a"}}
    relay.feed(event({**SECOND, "choices": [choice, {**choice, "index": index}]}))
    assert isinstance(relay.failure, NotContinued)


def test_what_was_held_back_when_it_broke_too_was_never_said() -> None:
    first = broken(ASKED, "The old dog slept by the fire")
    relay = going_on(first)
    assert relay.feed(say(SECOND, "The old")) == b""
    with pytest.raises(UpstreamError) as caught:
        relay.end()
    assert caught.value.fault is UpstreamFault.TRUNCATED
    assert relay.generated == 1
    third = going_on(relay)
    assert text(third.feed(say(SECOND, " and slept."))) == " and slept."
    assert third.said == ["The old dog slept by the fire", " and slept."]
    assert third.generated == 2


@pytest.mark.parametrize("asked", [ASKED, USAGE])
def test_a_stop_string_across_the_seam_ends_it(asked: dict[str, Any]) -> None:
    body = {**asked, "stop": ["END."]}
    relay = going_on(broken(body, "So it is E"), body)
    out = relay.feed(say(SECOND, "N")) + relay.feed(say(SECOND, "D. And more") + say(SECOND, finish="length"))
    ends = chunks(out)
    assert text(out) == ""
    assert [one["choices"][0]["finish_reason"] for one in ends if one["choices"]] == ["stop"]
    assert ("usage" in ends[-1]) is (asked is USAGE)
    assert all(one["id"] == "first" for one in ends)
    assert relay.done
    assert relay.finished
    relay.end()


def test_an_error_in_it_is_an_error() -> None:
    relay = going_on(broken())
    assert relay.feed(event({"error": {"message": "no", "code": 500}})) == b""
    assert relay.failure is not None
    assert relay.failure.fault is UpstreamFault.STATUS


@pytest.mark.parametrize(
    "bad", [b"data: {\n\n", b'data: {"choices": [5]}\n\n', b'data: {"choices": [{"index": 0, "delta": 7}]}\n\n']
)
def test_what_is_broken_is_malformed(bad: bytes) -> None:
    relay = going_on(broken())
    out = relay.feed(say(SECOND, " is") + bad + say(SECOND, " so"))
    assert text(out) == " is"
    assert relay.failure is not None
    assert relay.failure.fault is UpstreamFault.MALFORMED
    assert not isinstance(relay.failure, NotContinued)


def test_an_end_without_a_word_is_an_end() -> None:
    relay = going_on(broken())
    (one,) = chunks(relay.feed(say(SECOND) + say(SECOND, finish="stop") + DONE))
    assert one["choices"][0]["finish_reason"] == "stop"
    relay.end()


def test_null_deltas_and_events_without_choices_do_no_harm() -> None:
    relay = going_on(broken())
    out = relay.feed(event({**SECOND, "choices": [{"index": 0, "delta": None, "finish_reason": None}]}))
    out += relay.feed(event({**SECOND, "choices": [], "note": 1}) + say(SECOND, " is"))
    out += relay.feed(event({**SECOND, "choices": [], "note": 2}))
    assert [one.get("note") for one in chunks(out)] == [None, 2]
    assert text(out) == " is"
