"""The answer before any of it takes time."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.simulator.asks import Ask, Kind
from citadel_edge.simulator.plan import make_plan
from citadel_edge.simulator.text import Voice, count_tokens

VOICE = Voice(seed=3, name="m", shortest=30, longest=40)


def ask(**fields):
    values = {
        "kind": Kind.CHAT,
        "model": "m",
        "stream": False,
        "prompt": "hi",
        "said": "",
        "repeats_said": False,
        "max_tokens": None,
        "stop": (),
        "include_usage": False,
        "continuous_usage": False,
        "endless": False,
        "tool": None,
    }
    return Ask(**(values | fields))


WHOLE = make_plan(ask(), VOICE, limit=1000)


@given(limit=st.integers(0, 60))
def test_the_limit_cuts_and_says_length(limit):
    plan = make_plan(ask(), VOICE, limit=limit)
    assert plan.spoken == WHOLE.spoken[:limit]
    assert plan.finish == ("stop" if limit >= len(WHOLE) else "length")


def test_an_endless_answer_fills_the_limit():
    plan = make_plan(ask(endless=True), VOICE, limit=500)
    assert (len(plan), plan.finish) == (500, "length")


@given(start=st.integers(0, 200), length=st.integers(1, 12), more=st.integers(0, 100))
def test_a_stop_string_ends_the_text_before_it_wherever_it_lies(start, length, more):
    text = WHOLE.text
    stop = text[start : start + length] or text[-1]
    plan = make_plan(ask(stop=("never said", stop, text[more : more + 30] or stop)), VOICE, limit=1000)
    assert text.startswith(plan.text)
    assert stop not in plan.text
    assert plan.finish == "stop"


def test_the_tokens_of_a_stop_string_are_counted_though_not_sent():
    stop = WHOLE.spoken[4] + WHOLE.spoken[5]
    plan = make_plan(ask(stop=(stop,)), VOICE, limit=1000)
    assert (plan.text, len(plan)) == ("".join(WHOLE.spoken[:4]), 6)


def test_reasoning_comes_first_and_counts():
    plan = make_plan(ask(), VOICE, limit=20, reasoning_tokens=8)
    assert (len(plan.thought), len(plan.spoken), plan.finish) == (8, 12, "length")
    assert plan.spoken == WHOLE.spoken[:12]


@pytest.mark.parametrize("limit", [3, 8])
def test_reasoning_can_use_up_the_limit(limit):
    plan = make_plan(ask(), VOICE, limit=limit, reasoning_tokens=8)
    assert (len(plan.thought), plan.spoken, plan.finish) == (limit, (), "length")


def test_a_continuation_does_not_think_again():
    assert make_plan(ask(said="".join(WHOLE.spoken[:3])), VOICE, limit=99, reasoning_tokens=8).thought == ()


SCHEMA = {
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "warm": {"type": "boolean"},
        "unit": {"type": "string", "enum": ["C", "F"]},
        "odd": True,
    }
}


def test_a_forced_tool_gets_arguments_that_fit_its_schema():
    plan = make_plan(ask(tool=("weather", SCHEMA)), VOICE, limit=1000)
    arguments = json.loads(plan.text)
    assert set(arguments) == set(SCHEMA["properties"])
    assert (type(arguments["city"]), type(arguments["days"]), arguments["warm"]) == (str, int, True)
    assert arguments["unit"] in ("C", "F")
    assert (plan.tool, plan.finish, len(plan)) == ("weather", "tool_calls", count_tokens(plan.text))


def test_a_tool_without_parameters_gets_an_empty_object():
    assert make_plan(ask(tool=("now", {})), VOICE, limit=10).text == "{}"
