"""What a body shows of itself at a short look."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.completions.request import CompletionRequest, Kind, parse
from citadel_edge.config.shape import Capability
from citadel_edge.errors import RequestError
from citadel_edge.routing.features import full

HELLO = [{"role": "user", "content": "hello"}]
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 500_000}}


def chat(*, ascii_only: bool = True, **fields: Any) -> CompletionRequest:
    return parse(json.dumps({"model": "m", "messages": HELLO, **fields}, ensure_ascii=ascii_only).encode(), Kind.CHAT)


def user(content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content}]


@pytest.mark.parametrize(
    ("fields", "needs"),
    [
        ({}, set()),
        ({"tools": [{"type": "function"}]}, {Capability.TOOLS}),
        ({"functions": [{"name": "f"}]}, {Capability.TOOLS}),
        ({"tools": [], "functions": None}, set()),
        ({"response_format": {"type": "json_object"}}, {Capability.JSON}),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, {Capability.JSON}),
        ({"response_format": {"type": "text"}}, set()),
        ({"response_format": None}, set()),
        ({"response_format": 5}, set()),
        ({"guided_json": {"type": "object"}}, {Capability.JSON}),
        ({"structured_outputs": {"regex": "a+"}}, {Capability.JSON}),
        ({"grammar": 'root ::= "a"'}, {Capability.JSON}),
        ({"grammar": "", "regex": None}, set()),
        ({"format": "json"}, {Capability.JSON}),
        ({"reasoning_effort": "high"}, {Capability.REASONING}),
        ({"reasoning_effort": "none"}, set()),
        ({"reasoning_effort": None}, set()),
        ({"reasoning": {"effort": "low"}}, {Capability.REASONING}),
        ({"thinking": {"type": "enabled", "budget_tokens": 5}}, {Capability.REASONING}),
        ({"thinking": {"type": "disabled"}}, set()),
        ({"thinking": [1]}, set()),
        ({"messages": user([{"type": "text", "text": "what is it?"}, PICTURE])}, {Capability.VISION}),
        ({"messages": user('{"type": "image_url"} is what the body says')}, set()),
        ({"messages": user([{"type": "input_audio", "input_audio": {"data": "AAAA"}}])}, set()),
    ],
)
def test_the_fields_say_what_is_needed(fields: dict[str, Any], needs: set[Capability]) -> None:
    assert chat(**fields).needs == needs


def test_embeddings_need_embeddings() -> None:
    assert parse(b'{"model": "m", "input": "a"}', Kind.EMBEDDINGS).needs == {Capability.EMBEDDINGS}


def test_the_data_of_pictures_is_no_prompt() -> None:
    request = chat(messages=user([{"type": "text", "text": "what is it?"}, PICTURE, PICTURE]))
    assert request.pictures == 2
    assert 6000 < request.prompt_bytes < 7000
    assert b"AAAA" in request.upstream_body("e")


def test_messages_that_speak_of_pictures_count_whole() -> None:
    text = 'a body with "type": "image_url"' * 50
    assert chat(messages=user(text)).prompt_bytes > len(text)


def test_of_several_prompts_the_largest_must_fit() -> None:
    inputs = parse(json.dumps({"model": "m", "input": ["a" * 10, "b" * 100, ""]}).encode(), Kind.EMBEDDINGS)
    assert inputs.context_bytes == 102
    ids = parse(b'{"model": "m", "prompt": [1, 2, 3]}', Kind.COMPLETION)
    assert ids.context_bytes == ids.prompt_bytes
    assert parse(b'{"model": "m", "prompt": []}', Kind.COMPLETION).context_bytes == 2
    assert chat().context_bytes == chat().prompt_bytes


def test_a_conversation_is_judged_by_its_beginning_its_last_turns_and_its_question() -> None:
    turns = [("system", "be brief"), ("user", "one"), ("assistant", "two"), ("user", "three"), ("assistant", "four")]
    messages = [{"role": role, "content": content} for role, content in [*turns, ("user", "five")]]
    sample = chat(messages=messages).sample()
    assert (sample.system, sample.recent, sample.question) == ("be brief", "three\nfour", "five")


def test_an_assistants_last_word_does_not_hide_the_question() -> None:
    messages = [{"role": "user", "content": "why?"}, {"role": "assistant", "content": "because"}]
    assert chat(messages=messages).sample().question == "why?"
    alone = chat(messages=[{"role": "assistant", "content": "because"}])
    assert alone.sample().question == "because"


def test_a_long_text_is_read_at_its_head_and_its_tail() -> None:
    request = chat(messages=user("begin " + "x" * 10**6 + " end"))
    question = request.sample().question
    assert question.startswith("begin x")
    assert question.endswith("x end")
    assert len(question) < 3000


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("letter", ["文", "🙂", '"', "\\", "é", "\n", "a"])
@pytest.mark.parametrize("shift", range(4))
def test_a_cut_through_a_letter_leaves_the_rest(letter: str, shift: int, *, ascii_only: bool) -> None:
    question = chat(messages=user("s" * shift + letter * 5000), ascii_only=ascii_only).sample().question
    assert question.count(letter) > 100
    assert set(question) <= {letter, "s", "\n"}


def test_of_many_messages_a_few_are_kept() -> None:
    messages = [{"role": "user", "content": str(number)} for number in range(1000)]
    request = chat(messages=messages)
    assert list(request.texts()) == ["0", "1", *(str(number) for number in range(994, 1000))]


def test_a_legacy_prompt_is_the_question_and_token_ids_are_none() -> None:
    assert parse(b'{"model": "m", "prompt": "tell me"}', Kind.COMPLETION).sample().question == "tell me"
    assert parse(b'{"model": "m", "prompt": [1, 2]}', Kind.COMPLETION).sample().question == ""
    assert parse(b'{"model": "m", "input": "tell me"}', Kind.EMBEDDINGS).sample().question == ""


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.sampled_from(["image_url", "text", "type"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["type", "text", "x"]), inner, max_size=3)
    ),
    max_leaves=10,
)
fields = st.dictionaries(
    st.sampled_from(["tools", "functions", "response_format", "guided_json", "reasoning_effort", "thinking", "format"]),
    values,
)


@given(content=values, fields=fields)
def test_no_body_that_is_a_request_is_beyond_a_look(content: Any, fields: dict[str, Any]) -> None:
    try:
        request = chat(messages=user(content), **fields)
    except RequestError:
        return
    assert request.needs <= frozenset(Capability)
    assert request.prompt_bytes >= 1
    assert full(request.sample(), tokens_in=1, tokens_out=1, needs=request.needs).task
