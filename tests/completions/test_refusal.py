"""Engines' refusals in OpenAI's shape. The bodies are the engines' own."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.completions.refusal import read_refusal
from citadel_edge.errors import UpstreamError, UpstreamFault


def error(status: int, body: object) -> UpstreamError:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return UpstreamError(UpstreamFault.STATUS, "x", status=status, body=data)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (
            400,
            {
                "object": "error",
                "message": "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens.",
                "type": "BadRequestError",
                "param": None,
                "code": 400,
            },
        ),
        (400, {"error": {"message": "The decoder prompt (length 9) is longer than the maximum model length of 8."}}),
        (400, {"message": "The input (5000 tokens) is longer than the model's context length (4096 tokens)."}),
        (400, {"message": "Requested token count exceeds the model's maximum context length of 4096 tokens."}),
        (
            400,
            {
                "error": {
                    "code": 400,
                    "message": "the request exceeds the available context size, try increasing it",
                    "type": "exceed_context_size_error",
                    "n_prompt_tokens": 3000,
                    "n_ctx": 2048,
                }
            },
        ),
        (400, {"error": {"message": "the input length exceeds the context length", "type": "api_error"}}),
        (
            422,
            {
                "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000",
                "error_type": "validation",
            },
        ),
        (422, {"error": "Input validation error: `inputs` must have less than 4095 tokens. Given: 5000"}),
        (400, {"error": {"message": "no", "code": "context_length_exceeded"}}),
    ],
)
def test_every_engines_word_for_a_prompt_that_is_too_long_is_known(status: int, body: object) -> None:
    assert read_refusal(error(status, body)).too_long


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (400, {"error": {"message": "bad tools", "param": "tools", "code": None}}, "bad tools"),
        (422, {"detail": [{"loc": ["body"], "msg": "field required"}]}, "field required"),
        (422, {"error": "Input validation error: `temperature` must be strictly positive"}, "strictly positive"),
        (404, {"object": "error", "message": "The model `x` does not exist.", "code": 404}, "does not exist"),
        (400, b"plain words", "plain words"),
        (400, b"\xff\xfe", "\N{REPLACEMENT CHARACTER}"),
        (400, b"", "status 400"),
        (400, [1, 2], "[1, 2]"),
        (400, {"error": None}, "status 400"),
    ],
)
def test_other_refusals_keep_status_and_words(status: int, body: object, message: str) -> None:
    refusal = read_refusal(error(status, body))
    assert not refusal.too_long
    assert refusal.status == status
    shaped = json.loads(refusal.body())["error"]
    assert set(shaped) == {"message", "type", "code", "param"}
    assert message in shaped["message"]


def test_param_and_code_are_the_engines_where_they_are_words() -> None:
    refusal = read_refusal(error(400, {"error": {"message": "m", "param": "tools", "code": "bad_tools"}}))
    assert (refusal.param, refusal.code, refusal.type) == ("tools", "bad_tools", "invalid_request_error")
    assert read_refusal(error(400, {"error": {"message": "m", "code": 400}})).code == "invalid_request"


@pytest.mark.parametrize("status", [405, 501])
def test_an_endpoint_that_the_engine_lacks_is_a_bad_request(status: int) -> None:
    refusal = read_refusal(error(status, {"error": {"message": "This server does not support embeddings"}}))
    assert (refusal.status, refusal.message) == (400, "This server does not support embeddings")


def test_long_words_are_cut() -> None:
    assert len(read_refusal(error(400, {"message": "x" * 60_000})).message) == 2000


@given(body=st.binary(max_size=300), status=st.integers(400, 501))
def test_any_body_is_understood_somehow(body: bytes, status: int) -> None:
    assert json.loads(read_refusal(error(status, body)).body())["error"]["message"]
