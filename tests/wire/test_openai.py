"""Shapes of chunks, answers and errors."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.wire.openai import Usage, decode_answer, decode_chunk, error_body, error_type, without_field

RUSSIAN_DOLL = b"[" * 100_000


def chunk(**fields):
    return json.dumps({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", **fields}).encode()


def test_a_content_chunk():
    got = decode_chunk(
        chunk(choices=[{"index": 0, "delta": {"role": "assistant", "content": "h\u00e9"}, "logprobs": None}])
    )
    assert (got.choices[0].delta.content, got.choices[0].finish_reason, got.usage) == ("h\u00e9", None, None)


def test_usage_may_come_with_and_without_choices():
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7, "prompt_tokens_details": None}
    assert decode_chunk(chunk(choices=[], usage=usage)).usage == Usage(3, 4, 7)
    details = {**usage, "prompt_tokens_details": {"cached_tokens": 2}, "completion_tokens_details": {"new": 1}}
    assert decode_chunk(chunk(choices=[{"index": 0, "delta": {}}], usage=details)).usage.total_tokens == 7


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_reasoning_is_seen_in_either_field(field):
    assert decode_chunk(chunk(choices=[{"delta": {field: "hm"}}])).choices[0].delta.thought == "hm"


def test_tool_calls_and_errors_are_seen():
    call = {"index": 0, "function": {"name": "f", "arguments": "{}"}}
    assert decode_chunk(chunk(choices=[{"delta": {"tool_calls": [call]}}])).choices[0].delta.tool_calls
    assert decode_chunk(b'{"error": {"message": "boom"}}').error == {"message": "boom"}
    assert decode_chunk(b'{"error": "boom"}').error == "boom"


def test_a_legacy_chunk_has_text():
    assert decode_chunk(chunk(choices=[{"index": 0, "text": "x", "finish_reason": "length"}])).choices[0].text == "x"


def test_fields_that_nobody_reads_may_be_anything():
    got = decode_chunk(
        chunk(id=7, model=["m"], created="2025-01-01T00:00:00Z", choices=None, usage={"total_tokens": 1})
    )
    assert (got.choices, got.usage.prompt_tokens) == (None, 0)
    odd = {"id": 7, "created": "now", "model": None, "choices": [{"index": "one", "message": {"content": {"a": 1}}}]}
    assert decode_answer(json.dumps({**odd, "usage": {"prompt_tokens": 3, "total_tokens": None}}).encode()).usage


def test_an_engine_may_not_know_a_number():
    unknown = {"prompt_tokens": None, "completion_tokens": 2, "total_tokens": None, "completion_tokens_details": None}
    assert decode_chunk(chunk(choices=[{"index": None, "delta": {}}], usage=unknown)).usage == Usage(None, 2, None)


@pytest.mark.parametrize(
    "field", ["content", "reasoning", "reasoning_content", "refusal", "tool_calls", "function_call"]
)
@pytest.mark.parametrize("said", ["hi", [{"type": "text", "text": "hi"}], {"text": "hi"}])
def test_what_is_said_may_be_of_any_type(field, said):
    delta = decode_chunk(chunk(choices=[{"delta": {"role": 1, field: said}, "finish_reason": {"type": "stop"}}]))
    assert getattr(delta.choices[0].delta, field) == said


NO_JSON = [
    b"",
    b"{",
    b"[DONE]",
    b"null",
    b'{"choices": []} x',
    b'{"id": "\xff"}',
    b'{"unknown": "\xff"}',
    b'{"unknown": ' + RUSSIAN_DOLL,
    b'{"choices": [{"delta": {"tool_calls": ' + RUSSIAN_DOLL,
    b'{"choices": [{"message": {"content": ' + RUSSIAN_DOLL,
    b'{"error": ' + RUSSIAN_DOLL,
    b'{"usage": 5}',
    b'{"usage": {"prompt_tokens": "many"}}',
]


@pytest.mark.parametrize("bad", [*NO_JSON, b'{"choices": 1}', b'{"choices": [1]}', b'{"choices": [{"delta": "hi"}]}'])
def test_what_is_no_chunk_is_a_value_error(bad):
    with pytest.raises(ValueError):  # noqa: PT011 - its kind is the contract
        decode_chunk(bad)


@pytest.mark.parametrize("bad", NO_JSON)
def test_what_is_no_answer_is_a_value_error(bad):
    with pytest.raises(ValueError):  # noqa: PT011 - its kind is the contract
        decode_answer(bad)


@given(st.binary())
def test_any_bytes_are_a_chunk_or_a_value_error(data):
    try:
        decode_chunk(data)
    except ValueError:
        return


def test_a_whole_answer():
    body = chunk(
        choices=[{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
        usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    )
    assert decode_answer(body).usage == Usage(1, 2, 3)


def test_an_embeddings_answer_has_usage_alone():
    answer = decode_answer(
        b'{"object":"list","data":[{"embedding":[0.5]}],"usage":{"prompt_tokens":5,"total_tokens":5}}'
    )
    assert answer.usage == Usage(5, 0, 5)


def test_an_error_body_always_has_the_four_fields():
    body = error_body("no such model", type=error_type(404), code="model_not_found", param=None)
    error = {"message": "no such model", "type": "not_found_error", "param": None, "code": "model_not_found"}
    assert json.loads(body) == {"error": error}


TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
    500: "api_error",
    503: "api_error",
    504: "timeout_error",
}


@pytest.mark.parametrize(("status", "kind"), TYPES.items())
def test_error_types(status, kind):
    assert error_type(status) == kind


PLAIN = b'{"id":"c","choices":[{"index":0,"delta":{"content":"a"}}]}'
COUNTED = PLAIN[:-1] + b',"usage":{"prompt_tokens":1,"details":{"cached":0}}}'


def test_a_field_is_cut_off_without_a_trace():
    assert without_field(COUNTED, "usage") == PLAIN
    assert without_field(COUNTED, "usage", null=True) == PLAIN[:-1] + b',"usage":null}'


@pytest.mark.parametrize(
    ("data", "left"),
    [
        (b'{"usage":{"a":1},"choices":[]}', b'{"choices":[]}'),
        (b'{"a": 1, "usage": {"a": 1}}', b'{"a":1}'),
        (b'{"usage":{"a":{"b":1}},"x":{"y":{}}}', b'{"x":{"y":{}}}'),
        (b'{"a":{"b":1,"usage":{"c":1}}}', b'{"a":{"b":1,"usage":{"c":1}}}'),
        (b'{"b":1,"usage":{"c":1},"d":{"e":{}}}', b'{"b":1,"d":{"e":{}}}'),
        (b'{"b":1,"usage":{"c":1,"usage":{"d":2}}}', b'{"b":1}'),
        (b'{"text":",\\"usage\\":{}}"}', b'{"text":",\\"usage\\":{}}"}'),
        (PLAIN, PLAIN),
    ],
)
def test_wherever_it_stands_the_others_keep_their_bytes(data, left):
    assert without_field(data, "usage") == left


@given(
    st.dictionaries(
        st.sampled_from(["a", "usage", "b"]),
        st.recursive(
            st.none() | st.text(st.sampled_from('",:{}usage\\'), max_size=12),
            lambda inner: (
                st.dictionaries(st.sampled_from(["usage", "x"]), inner, max_size=3) | st.lists(inner, max_size=3)
            ),
        ),
    ),
    st.booleans(),
)
def test_any_object_is_the_same_but_for_the_field(fields, null):
    left = {name: value for name, value in fields.items() if name != "usage"}
    data = json.dumps(fields, separators=(",", ":")).encode()
    made = json.loads(without_field(data, "usage", null=null))
    assert made == (left | {"usage": None} if null else left)


@pytest.mark.parametrize("data", [b"", b"[]", b'{"a', b"nothing"])
def test_what_is_no_object_is_a_value_error(data):
    with pytest.raises(ValueError, match="malformed"):
        without_field(data, "usage")


@pytest.mark.parametrize("timings", [None, 5, {}, {"cache_n": 1}, {"cache_n": None, "prompt_n": 2, "predicted_n": 3}])
def test_timings_may_be_anything(timings):
    assert decode_chunk(json.dumps({"timings": timings}).encode()).timed is None


def test_timings_count_the_whole_prompt():
    chunk = decode_chunk(b'{"timings": {"cache_n": 5, "prompt_n": 2, "predicted_n": 3, "predicted_ms": 1.5}}')
    assert chunk.timed == Usage(7, 3, 10)
