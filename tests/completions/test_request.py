"""What a body asks for, and what goes upstream."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.completions.request import Kind, parse
from citadel_edge.errors import Code, RequestError

MESSAGES = [{"role": "user", "content": "hello"}]
CHAT: dict[str, Any] = {"model": "m", "messages": MESSAGES}


def body(**fields: Any) -> bytes:
    return json.dumps({**CHAT, **fields}).encode()


def refused(data: bytes, kind: Kind = Kind.CHAT) -> RequestError:
    with pytest.raises(RequestError) as caught:
        parse(data, kind)
    assert caught.value.code is Code.INVALID_REQUEST
    return caught.value


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"{", "ends too early (byte 1)"),
        (b'{"model": "m", "messages": [1,}', "byte 30"),
        (b'{"model": "m"} {}', "trailing characters (byte 16)"),
        (b"\xef\xbb\xbf{}", "byte 0"),
        (b"[1]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'"model"', "must be a JSON object"),
        (b'{"model": "\xff"}', "not UTF-8 (byte 11)"),
        (b'{"model": NaN}', "not valid JSON"),
        (b'{"model": "m", "messages": Infinity}', "not valid JSON"),
        (b'{"x": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "nested too deeply"),
        (b"[" * 10_000, "must be a JSON object"),
        (b'{"model": "m", "messages": [{"role": "user", "content": "\\ud83d"}]}', "half a character"),
    ],
)
def test_what_is_no_body_is_refused_with_the_place(data: bytes, says: str) -> None:
    error = refused(data)
    assert says in error.message
    assert error.param is None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": 1}, "model"),
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"model": "x" * 257}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": {"role": "user"}}, "messages"),
        ({"messages": ["hello"]}, "messages"),
        ({"messages": [{"content": "hello"}]}, "messages"),
        ({"messages": [{"role": 5, "content": "hello"}]}, "messages"),
        ({"stream": "yes"}, "stream"),
        ({"stream": 1}, "stream"),
        ({"stream_options": True}, "stream_options"),
        ({"stream_options": {"include_usage": "yes"}}, "stream_options"),
        ({"max_tokens": "10"}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 10**30}, "max_tokens"),
        ({"max_completion_tokens": True}, "max_completion_tokens"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
    ],
)
def test_a_field_of_the_wrong_kind_is_named(fields: dict[str, Any], param: str) -> None:
    error = refused(body(**fields))
    assert error.param == param
    assert f"'{param}'" in error.message


@pytest.mark.parametrize("number", [b"1e999", b"9" * 5000, b"-0.0", b"1e-999"])
def test_numbers_beyond_any_bound_pass_where_nobody_looks_and_are_refused_where_one_does(number: bytes) -> None:
    data = b'{"model": "m", "messages": [{"role": "user"}], "temperature": ' + number + b"}"
    assert number in parse(data, Kind.CHAT).upstream_body("e")
    if number.startswith((b"1e9", b"999")):
        assert refused(data.replace(b"temperature", b"max_tokens")).param == "max_tokens"


def test_missing_fields_are_named() -> None:
    assert refused(b"{}").param == "messages"
    assert refused(b'{"messages": [{"role": "user"}]}').param == "model"
    assert refused(b'{"model": "m"}', Kind.COMPLETION).param == "prompt"
    assert refused(b'{"model": "m", "input": null}', Kind.EMBEDDINGS).param == "input"
    assert refused(b'{"model": "m", "input": 5}', Kind.EMBEDDINGS).param == "input"
    assert refused(b'{"model": "m", "prompt": {"a": 1}}', Kind.COMPLETION).param == "prompt"


@pytest.mark.parametrize("prompt", ["text", "", ["a", "b"], [1, 2, 3], [[1, 2], [3]]])
def test_prompts_and_inputs_are_strings_or_arrays(prompt: Any) -> None:
    assert parse(json.dumps({"model": "m", "prompt": prompt}).encode(), Kind.COMPLETION).kind is Kind.COMPLETION
    assert parse(json.dumps({"model": "m", "input": prompt}).encode(), Kind.EMBEDDINGS).kind is Kind.EMBEDDINGS


def test_the_fields_that_matter_are_read() -> None:
    request = parse(body(stream=True, stream_options={"include_usage": True}, max_tokens=5, n=2, tools=[{}]), Kind.CHAT)
    assert (request.model, request.stream, request.include_usage) == ("m", True, True)
    assert (request.max_tokens, request.n, request.tools) == (5, 2, True)
    plain = parse(body(stream=None, stream_options=None, max_tokens=None, n=None, tools=[]), Kind.CHAT)
    assert (plain.stream, plain.include_usage, plain.max_tokens, plain.n, plain.tools) == (False, False, None, 1, False)
    assert parse(body(max_tokens=5, max_completion_tokens=7), Kind.CHAT).max_tokens == 7


def test_embeddings_are_never_streams() -> None:
    assert not parse(b'{"model": "m", "input": "a", "stream": true}', Kind.EMBEDDINGS).stream


def test_upstream_the_model_is_replaced_and_a_streams_usage_is_asked_for() -> None:
    sent = json.loads(parse(body(stream=True, seed=7), Kind.CHAT).upstream_body("engine/name"))
    assert sent == {
        "model": "engine/name",
        "messages": MESSAGES,
        "stream": True,
        "seed": 7,
        "stream_options": {"include_usage": True},
    }


def test_other_stream_options_stay() -> None:
    options = {"include_usage": False, "continuous_usage_stats": True}
    sent = json.loads(parse(body(stream=True, stream_options=options), Kind.CHAT).upstream_body("e"))
    assert sent["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}


def test_what_is_not_streamed_is_not_asked_for_stream_options() -> None:
    assert "stream_options" not in json.loads(parse(body(), Kind.CHAT).upstream_body("e"))


def test_a_door_may_decide_on_streaming() -> None:
    streamed = parse(body(stream=False), Kind.CHAT).streaming(True)
    sent = json.loads(streamed.upstream_body("e"))
    assert (streamed.stream, sent["stream"], sent["stream_options"]) == (True, True, {"include_usage": True})
    whole = parse(body(stream=True, stream_options={"include_usage": True}), Kind.CHAT).streaming(False)
    sent = json.loads(whole.upstream_body("e"))
    assert (whole.stream, whole.include_usage, sent["stream"]) == (False, False, False)
    assert "stream_options" not in sent


def test_of_a_field_given_twice_only_the_checked_one_goes_upstream() -> None:
    data = b'{"model": "cheap", "messages": [{"role": "user"}], "model": "dear", "x": 1, "x": 2}'
    request = parse(data, Kind.CHAT)
    assert request.model == "dear"
    assert request.upstream_body("e") == b'{"model":"e","messages":[{"role": "user"}],"x":2}'


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
KNOWN = {"model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n", "tools"}


@given(extra=st.dictionaries(st.text().filter(lambda name: name not in KNOWN), json_values, max_size=6))
def test_unknown_fields_arrive_as_they_came(extra: dict[str, Any]) -> None:
    sent = json.loads(parse(body(**extra), Kind.CHAT).upstream_body("e"))
    assert sent == {**CHAT, **extra, "model": "e"}


@given(data=st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_request_or_a_refusal(data: bytes) -> None:
    for kind in Kind:
        try:
            request = parse(data, kind)
        except RequestError as error:
            assert error.code is Code.INVALID_REQUEST  # noqa: PT017 - either way is fine
        else:
            msgspec.json.decode(request.upstream_body("e"))


@given(fields=st.dictionaries(st.sampled_from(sorted(KNOWN)), json_values))
def test_any_values_in_the_fields_that_matter_are_a_request_or_a_refusal(fields: dict[str, Any]) -> None:
    try:
        request = parse(json.dumps({**CHAT, **fields}).encode(), Kind.CHAT)
    except RequestError as error:
        assert error.param in KNOWN  # noqa: PT017 - either way is fine
    else:
        assert json.loads(request.upstream_body("e"))["model"] == "e"
