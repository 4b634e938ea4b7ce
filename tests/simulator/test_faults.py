"""Which requests a fault strikes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.simulator.faults import Facts, Fault, FaultBook, FaultKind, Match, read_fault

CHAT = Facts(path="/v1/chat/completions", inference=True, model="m", stream=True, text="say hello", headers={"A": "1"})
HEALTH = Facts(path="/health", inference=False)


def struck(fault, *requests, seed=0):
    book = FaultBook(seed=seed)
    book.add(fault)
    return [book.take(facts) is not None for facts in requests]


def test_times_and_skip_count_matching_requests():
    fault = Fault(kind=FaultKind.STALL, times=2, skip=1)
    assert struck(fault, CHAT, HEALTH, CHAT, CHAT, CHAT) == [False, False, True, True, False]


@pytest.mark.parametrize(
    ("match", "hit"),
    [
        (Match(), True),
        (Match(path="/v1/chat/completions"), True),
        (Match(path="/v1/completions"), False),
        (Match(model="m"), True),
        (Match(model="n"), False),
        (Match(stream=False), False),
        (Match(contains="hello"), True),
        (Match(contains="bye"), False),
        (Match(headers={"A": "1"}), True),
        (Match(headers={"A": "2"}), False),
    ],
)
def test_match(match, hit):
    assert struck(Fault(kind=FaultKind.RESET, match=match), CHAT) == [hit]


def test_most_kinds_leave_probes_alone_and_freeze_does_not():
    assert struck(Fault(kind=FaultKind.FAILED), HEALTH, CHAT) == [False, True]
    assert struck(Fault(kind=FaultKind.FREEZE), HEALTH, CHAT) == [True, True]
    dying = Fault(kind=FaultKind.UNREACHABLE, after_tokens=3, times=1)
    assert struck(dying, HEALTH, CHAT) == [False, True], "nobody dies in the middle of a probe's answer"
    assert struck(Fault(kind=FaultKind.UNAVAILABLE, match=Match(path="/health")), HEALTH, CHAT) == [True, False]


@given(seed=st.integers(0, 1000), probability=st.sampled_from([0.0, 0.3, 1.0]))
def test_probability_is_kept_and_repeats_by_seed(seed, probability):
    fault = Fault(kind=FaultKind.STALL, probability=probability)
    runs = [struck(fault, *[CHAT] * 300, seed=seed) for _ in range(2)]
    assert runs[0] == runs[1]
    assert abs(sum(runs[0]) / 300 - probability) < 0.15


def test_the_oldest_fault_that_strikes_is_taken_and_the_next_when_it_is_used_up():
    book = FaultBook(seed=0)
    first = book.add(Fault(kind=FaultKind.STALL, times=1))
    second = book.add(Fault(kind=FaultKind.RESET))
    assert [book.take(CHAT).id, book.take(CHAT).id] == [first.id, second.id]
    assert [(entry["kind"], entry["struck"]) for entry in book.entries()] == [("stall", 1), ("reset", 1)]


def test_removal_lifts_the_fault_once():
    book = FaultBook(seed=0)
    entry = book.add(Fault(kind=FaultKind.FREEZE))
    assert (book.remove(entry.id), book.remove(entry.id)) == (True, False)
    assert entry.lifted.is_set()
    assert book.take(CHAT) is None


def test_the_command_line_takes_json_and_a_short_form():
    wanted = Fault(kind=FaultKind.STALL, after_tokens=5, times=1, duration_s=0.5)
    assert read_fault("stall:after_tokens=5,times=1,duration_s=0.5") == wanted
    assert read_fault('{"kind": "stall", "after_tokens": 5, "times": 1, "duration_s": 0.5}') == wanted
    assert read_fault("429:retry_after_s=2") == Fault(kind=FaultKind.RATE_LIMITED, retry_after_s=2)


@pytest.mark.parametrize(
    "text", ["nonsense", "stall:after=5", "stall:after_tokens=x", "stall:x", '{"kind": "stall", "probability": 2}', "{"]
)
def test_a_wrong_fault_says_what_is_wrong(text):
    with pytest.raises(ValueError, match="no fault"):
        read_fault(text)
