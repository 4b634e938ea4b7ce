"""Bodies in all their forms."""

import pytest

from citadel_edge.simulator.asks import Refusal, content_of, forced_tool, raw_prompt, render, texts_of
from citadel_edge.simulator.text import tokens

TOOLS = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("a", "b")]


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "plain"}, "plain"),
        ({"content": [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]}, "one two"),
        (
            {"content": [{"type": "image_url", "image_url": {"url": "x"}}]},
            '{"type":"image_url","image_url":{"url":"x"}}',
        ),
        ({"content": None}, ""),
        ({"tool_calls": [{"id": "c"}]}, '{"id":"c"}'),
    ],
)
def test_content(message, text):
    assert content_of(message) == text


@pytest.mark.parametrize("content", [5, {"text": "x"}, ["x"]])
def test_other_content_is_refused(content):
    with pytest.raises(Refusal) as refused:
        content_of({"content": content})
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("value", "texts"),
    [("x", ["x"]), (["x", "y"], ["x", "y"]), ([1, 2], ["<1> <2>"]), ([[1], [2, 3]], ["<1>", "<2> <3>"])],
)
def test_prompts_and_inputs(value, texts):
    assert texts_of(value, field="input") == texts


@pytest.mark.parametrize("value", [None, [], 5, [1, "x"], [[1], "x"], {}])
def test_other_inputs_are_refused(value):
    with pytest.raises(Refusal):
        texts_of(value, field="input")


def test_several_prompts_in_one_completion_are_refused():
    with pytest.raises(Refusal):
        raw_prompt({"prompt": ["x", "y"]})


@pytest.mark.parametrize(
    ("choice", "name"), [("required", "a"), ({"function": {"name": "b"}}, "b"), ("auto", None), (None, None)]
)
def test_which_tool_must_be_called(choice, name):
    forced = forced_tool({"tools": TOOLS, "tool_choice": choice})
    assert (forced and forced[0]) == name


def test_a_tool_that_is_not_there_is_refused():
    with pytest.raises(Refusal):
        forced_tool({"tools": TOOLS, "tool_choice": {"function": {"name": "c"}}})


def test_what_was_said_has_the_same_tokens_in_the_next_turn():
    first = [{"role": "user", "content": "hi there"}]
    said = "word for word"
    before = tokens(render(first)) + tokens(said)
    turns = [*first, {"role": "assistant", "content": said}, {"role": "user", "content": "more"}]
    assert tokens(render(turns))[: len(before)] == before


def test_tools_are_part_of_the_prompt():
    assert render([{"role": "user", "content": "x"}], TOOLS) != render([{"role": "user", "content": "x"}])
