"""What may be continued, where, and with what request."""

import json
from typing import Any

import pytest

from citadel_edge.completions.continuation import (
    first_body,
    forbidden,
    last_words,
    listen,
    next_body,
    nothing_left,
    refusal,
    resume,
    unable,
)
from citadel_edge.completions.relay import MOST_SAID, Relay
from citadel_edge.completions.request import Kind, parse
from citadel_edge.config.shape import Engine
from citadel_edge.fleet.engines.dialect import Dialect
from citadel_edge.fleet.engines.known import dialect_of
from completions.continued import request_of
from completions.scripted import chunk, event, usage_chunk

ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}]}
RAW: dict[str, Any] = {"prompt": "once"}
VLLM, SGLANG, LLAMACPP, OLLAMA, TGI, OPENAI = (
    dialect_of(Engine(name)) for name in "vllm sglang llamacpp ollama tgi openai".split()
)
FLAGS = {"continue_final_message": True, "add_generation_prompt": False}


def text(said: str) -> bytes:
    return event(
        {"id": "c", "created": 5, "model": "m", "choices": [{"index": 0, "text": said, "finish_reason": None}]}
    )


def heard(body: dict[str, Any], *pieces: bytes, dialect: Dialect = VLLM) -> Relay:
    """A relay that heard so much of an answer before it broke."""
    relay = listen(request_of(body), dialect, recording=True)
    for piece in pieces:
        relay.feed(piece)
    return relay


def body_of(body: dict[str, Any], relay: Relay, dialect: Dialect) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(next_body(request_of(body), relay, dialect=dialect, model="theirs"))
    return made


FORBIDDEN: list[tuple[dict[str, Any], str]] = [
    ({"stream": False}, "stream"),
    ({"n": 2}, "choices"),
    ({"best_of": 3}, "choices"),
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
    ({"functions": [{"name": "f"}]}, "tools"),
    ({"function_call": "auto"}, "tools"),
    ({"response_format": {"type": "json_object"}}, "guided"),
    ({"response_format": {"type": "json_schema", "json_schema": {}}}, "guided"),
    ({"guided_json": {"type": "object"}}, "guided"),
    ({"guided_regex": "a+"}, "guided"),
    ({"guided_of_the_future": 1}, "guided"),
    ({"structured_outputs": {"choice": ["a"]}}, "guided"),
    ({"grammar": "root ::= x"}, "guided"),
    ({"json_schema": {"type": "object"}}, "guided"),
    ({"regex": "a"}, "guided"),
    ({"ebnf": "a"}, "guided"),
    ({"format": "json"}, "guided"),
    ({"echo": True}, "prompt"),
    ({"reasoning_effort": "high"}, "reasoning"),
    ({"think": True}, "reasoning"),
    ({"chat_template_kwargs": {"enable_thinking": True}}, "reasoning"),
]
ALLOWED: list[dict[str, Any]] = [
    {},
    {"n": 1, "best_of": 1},
    {"tools": []},
    {"tools": None, "functions": []},
    {"response_format": {"type": "text"}},
    {"response_format": None, "guided_json": None, "grammar": ""},
    {"echo": False, "logit_bias": {"5": 1}, "seed": 3, "stop": ["x"]},
    {"reasoning_effort": "none", "think": False, "chat_template_kwargs": {"enable_thinking": False}},
]


@pytest.mark.parametrize(("fields", "word"), FORBIDDEN)
@pytest.mark.parametrize("asked", [ASKED, RAW], ids=["chat", "raw"])
def test_what_a_request_forbids_is_said_in_words(asked: dict[str, Any], fields: dict[str, Any], word: str) -> None:
    why = forbidden(request_of({**asked, **fields}))
    assert why is not None
    assert word in why


@pytest.mark.parametrize("fields", ALLOWED)
@pytest.mark.parametrize("asked", [ASKED, RAW], ids=["chat", "raw"])
def test_plain_requests_may_be_continued(asked: dict[str, Any], fields: dict[str, Any]) -> None:
    request = request_of({**asked, **fields})
    assert forbidden(request) is None
    said = chunk("a") if asked is ASKED else text("a")
    assert refusal(request, heard({**asked, **fields}, said)) is None


@pytest.mark.parametrize(
    "fields",
    [{"modalities": ["text", "audio"]}, {"audio": {"voice": "x"}}, {"add_generation_prompt": False}],
)
def test_a_chat_of_more_than_text_is_not(fields: dict[str, Any]) -> None:
    assert forbidden(request_of({**ASKED, **fields}))


def test_images_and_logprobs_of_a_chat_are_no_hindrance() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:,"}}
    body = {"messages": [{"role": "user", "content": [image]}], "logprobs": True, "modalities": ["text"]}
    assert forbidden(request_of(body)) is None
    assert refusal(request_of(body), heard(body, chunk("a"))) is None


@pytest.mark.parametrize("fields", [{"logprobs": 0}, {"suffix": "end"}, {"prompt": ["a"]}, {"prompt": [1, 2]}])
def test_a_raw_completion_whose_text_is_not_all_is_not(fields: dict[str, Any]) -> None:
    assert forbidden(request_of({**RAW, **fields}))


def test_embeddings_are_not() -> None:
    request = parse(b'{"model": "m", "input": "x"}', Kind.EMBEDDINGS)
    assert forbidden(request)


@pytest.mark.parametrize(
    ("said", "word"),
    [
        (event({"choices": [{"index": 0, "delta": {"reasoning": "hm"}}]}), "reasoning"),
        (event({"choices": [{"index": 0, "delta": {"reasoning_content": "hm"}}]}), "reasoning"),
        (event({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0}]}}]}), "tools"),
        (event({"choices": [{"index": 0, "delta": {"refusal": "no"}}]}), "refusal"),
        (event({"choices": [{"index": 0, "delta": {"content": [{"type": "text"}]}}]}), "no text"),
        (chunk("b", index=1), "choices"),
        (chunk("x" * (MOST_SAID + 1)), "longer"),
        (chunk("<think>so") + chunk("</thi") + chunk("nk>"), "reasoning"),
        (chunk("so</thi") + chunk("nk>"), "reasoning"),
        (chunk("<|channel|>"), "reasoning"),
    ],
)
def test_what_an_answer_bears_beside_text_forbids_it(said: bytes, word: str) -> None:
    relay = heard(ASKED, chunk("a") + said + chunk("c"))
    why = refusal(request_of(ASKED), relay)
    assert why is not None
    assert word in why


def test_an_answer_that_was_not_written_down_is_not_continued() -> None:
    request = request_of(ASKED)
    relay = listen(request, VLLM, recording=False)
    relay.feed(chunk("a"))
    assert refusal(request, relay)
    assert relay.said is None


@pytest.mark.parametrize("message", [{"role": "assistant", "content": "x", "tool_calls": [{"id": 1}]}])
def test_a_started_answer_that_calls_tools_is_not_continued(message: dict[str, Any]) -> None:
    body = {"messages": [*ASKED["messages"], message], **FLAGS}
    assert refusal(request_of(body), heard(body, chunk("a")))


def test_a_message_of_another_is_not_continued() -> None:
    assert refusal(request_of({**ASKED, **FLAGS}), heard({**ASKED, **FLAGS}, chunk("a")))


@pytest.mark.parametrize(
    ("dialect", "chat", "raw"),
    [(one, one is not OPENAI, True) for one in (VLLM, SGLANG, LLAMACPP, TGI, OLLAMA, OPENAI)],
)
def test_which_engines_can(dialect: Dialect, *, chat: bool, raw: bool) -> None:
    assert (unable(request_of(ASKED), heard(ASKED, chunk("a")), dialect) is None) is chat
    assert (unable(request_of(RAW), heard(RAW, text("a")), dialect) is None) is raw


def test_while_nothing_was_said_any_engine_can() -> None:
    assert unable(request_of(ASKED), heard(ASKED), OPENAI) is None
    for said in ([], [chunk("\n")]):
        assert body_of(ASKED, heard(ASKED, *said), VLLM)["messages"] == ASKED["messages"]


@pytest.mark.parametrize("dialect", [VLLM, SGLANG])
def test_some_engines_are_told_by_flags(dialect: Dialect) -> None:
    body = body_of({**ASKED, "seed": 7, "top_k": 3}, heard(ASKED, chunk("a"), chunk(" b")), dialect)
    assert body["messages"] == [*ASKED["messages"], {"role": "assistant", "content": "a b"}]
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    assert (body["model"], body["seed"], body["top_k"], body["stream"]) == ("theirs", 7, 3, True)
    assert body["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}


@pytest.mark.parametrize("dialect", [LLAMACPP, TGI, OLLAMA])
def test_others_by_the_last_message_alone(dialect: Dialect) -> None:
    started = {"messages": [*ASKED["messages"], {"role": "assistant", "content": "So "}], **FLAGS}
    body = body_of(started, heard(started, chunk("a")), dialect)
    assert body["messages"][1:] == [{"role": "assistant", "content": "So a"}]
    assert not FLAGS.keys() & body.keys()


@pytest.mark.parametrize(
    ("content", "made"),
    [
        ("So", "So on"),
        (None, " on"),
        ("", " on"),
        ([{"type": "text", "text": "So"}], [{"type": "text", "text": "So on"}]),
        ([], [{"type": "text", "text": " on"}]),
        ([{"type": "x"}], [{"type": "x"}, {"type": "text", "text": " on"}]),
    ],
)
def test_a_started_answer_of_the_client_s_is_lengthened(content: Any, made: Any) -> None:
    message = {"role": "assistant", "name": "bob", "content": content}
    body = {"messages": [*ASKED["messages"], message], **FLAGS}
    got = body_of(body, heard(body, chunk(" on"), dialect=SGLANG), VLLM)
    assert got["messages"] == [*ASKED["messages"], {"role": "assistant", "name": "bob", "content": made}]


@pytest.mark.parametrize("dialect", [VLLM, LLAMACPP])
def test_a_prompt_grows_by_what_was_said_to_the_last_space(dialect: Dialect) -> None:
    assert body_of(RAW, heard(RAW, text(" upon"), text(" a "), dialect=LLAMACPP), dialect)["prompt"] == "once upon a "


@pytest.mark.parametrize(
    ("dialect", "content"), [(VLLM, "word."), (TGI, "word."), (SGLANG, "word.\n\n "), (LLAMACPP, "word.\n\n ")]
)
def test_white_space_that_an_engine_may_trim_is_not_given(dialect: Dialect, content: str) -> None:
    relay = heard(ASKED, chunk("word."), chunk("\n\n"), chunk(" "))
    body = body_of({**ASKED, "max_tokens": 9}, relay, dialect)
    assert body["messages"][-1]["content"] == content
    assert body["max_tokens"] == (8 if content == "word." else 6), "it is generated again"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "n_predict"])
def test_what_was_generated_is_taken_off_the_bounds(name: str) -> None:
    fields = {**ASKED, name: 10, "min_tokens": 5}
    relay = heard(fields, chunk("a"), chunk(" b"), usage_chunk(4, 3), chunk(" c"))
    assert relay.generated == 4
    body = body_of(fields, relay, VLLM)
    assert (body[name], body["min_tokens"]) == (6, 1)
    relay.feed(chunk(" d") * 3)
    assert body_of(fields, relay, VLLM)["min_tokens"] == 0


@pytest.mark.parametrize(("dialect", "bound"), [(VLLM, 14), (TGI, 98), (LLAMACPP, None)])
def test_a_bound_that_nobody_named_is_the_first_engine_s(dialect: Dialect, bound: int | None) -> None:
    relay = heard(RAW, text(" a"), text(" b"), dialect=dialect)
    assert body_of(RAW, relay, VLLM).get("max_tokens") == bound
    assert body_of({**RAW, "max_tokens": None}, relay, VLLM).get("max_tokens") == bound


def ends(body: dict[str, Any], relay: Relay) -> list[dict[str, Any]]:
    out = last_words(request_of(body), relay, prompt_tokens=50)
    return [json.loads(one.removeprefix(b"data: ")) for one in out.split(b"\n\n") if one]


def test_an_answer_whose_tokens_are_used_up_is_ended_here() -> None:
    bounded = {**ASKED, "max_tokens": 2, "stream_options": {"include_usage": True}}
    relay = heard(bounded, chunk("a"))
    assert not nothing_left(request_of(bounded), relay)
    relay.feed(chunk(" b"))
    assert nothing_left(request_of(bounded), relay)
    finish, usage = ends(bounded, relay)
    assert finish["id"] == "c"
    assert finish["choices"] == [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "length"}]
    assert usage["choices"] == []
    assert usage["usage"] == {"prompt_tokens": 50, "completion_tokens": 2, "total_tokens": 52}


def test_an_answer_that_had_its_end_lacks_its_usage_at_most() -> None:
    asked = {**ASKED, "stream_options": {"include_usage": True}}
    relay = heard(asked, chunk("a"), chunk(finish="stop"))
    assert nothing_left(request_of(asked), relay)
    assert [one["choices"] for one in ends(asked, relay)] == [[]]
    relay.feed(usage_chunk(3, 1))
    assert ends(asked, relay) == []
    assert ends(ASKED, heard(ASKED, chunk("a"), chunk(finish="stop"))) == []


def test_a_raw_completion_is_ended_in_its_own_shape() -> None:
    relay = heard({**RAW, "max_tokens": 1}, text("a"))
    assert ends({**RAW, "max_tokens": 1}, relay)[0]["choices"][0]["text"] == ""


def test_exact_counts_are_asked_for_where_there_are_any() -> None:
    request = request_of({**ASKED, "stream_options": {"mine": 1}})
    made = {name: json.loads(first_body(request, dialect=one, model="t")) for name, one in (("v", VLLM), ("o", OPENAI))}
    assert made["v"]["stream_options"] == {"mine": 1, "include_usage": True, "continuous_usage_stats": True}
    assert made["o"]["stream_options"] == {"mine": 1, "include_usage": True}
    assert json.loads(first_body(request, dialect=LLAMACPP, model="t"))["timings_per_token"] is True
    whole = request_of({**ASKED, "stream": False})
    assert "stream_options" not in json.loads(first_body(whole, dialect=VLLM, model="t"))
    assert "timings_per_token" not in json.loads(first_body(whole, dialect=LLAMACPP, model="t"))


def test_a_relay_that_goes_on_knows_all_that_was_said() -> None:
    relay = heard(ASKED, chunk("a"), chunk(" b"))
    once = resume(request_of(ASKED), relay, dialect=LLAMACPP)
    once.feed(chunk(" c"))
    again = resume(request_of(ASKED), once, dialect=VLLM)
    assert body_of(ASKED, again, TGI)["messages"][-1]["content"] == "a b c"
    assert again.generated == 3
    assert relay.said == ["a", " b"]
