"""What calls teach of a replica."""

import math
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.fleet.signals import Signals


def taught(first_s, token_s, *, calls=200, seed=1):
    signals, rng = Signals(), Random(seed)
    for step in range(calls):
        load, tokens = rng.randint(1, 8), rng.randint(10, 1000)
        now = step * 0.1
        signals.observe_first_token(first_s(tokens), tokens_in=tokens, prefilling_tokens=0, load=load, now=now)
        signals.observe_decode(token_s(load) * 100, tokens=100, load=load, now=now)
    return signals


def test_nothing_is_known_at_first():
    assert not Signals().known
    assert Signals().predict_ttft_s(tokens_in=1, prefilling_tokens=0, load=1) == 0.030


def test_a_prompts_length_and_the_load_are_told_apart():
    signals = taught(lambda tokens: 0.05 + 0.0002 * tokens, lambda load: 0.02 + 0.002 * load)
    ttft = [signals.predict_ttft_s(tokens_in=n, prefilling_tokens=0, load=3) for n in (100, 900)]
    assert abs(ttft[0] - 0.07) < 0.01
    assert abs(ttft[1] - 0.23) < 0.01
    token = [signals.predict_token_s(load=load) for load in (1, 8)]
    assert abs(token[0] - 0.022) < 0.002
    assert abs(token[1] - 0.036) < 0.003


def test_tokens_queued_ahead_count_as_the_own():
    signals = taught(lambda tokens: 0.0002 * tokens, lambda _: 0.02)
    own = signals.predict_ttft_s(tokens_in=800, prefilling_tokens=0, load=1)
    assert signals.predict_ttft_s(tokens_in=300, prefilling_tokens=500, load=1) == own


def test_a_flat_engine_has_no_slope():
    signals = taught(lambda _: 0.1, lambda _: 0.02)
    one, many = (signals.predict_token_s(load=load) for load in (1, 60))
    assert math.isclose(one, many, rel_tol=0.01)


def test_a_replica_that_turned_slow_shows_within_three_calls_and_recovers():
    signals = taught(lambda _: 0.1, lambda _: 0.02)
    for step in range(3):
        signals.observe_first_token(1.0, tokens_in=100, prefilling_tokens=0, load=1, now=21.0 + step / 10)
    assert signals.predict_ttft_s(tokens_in=100, prefilling_tokens=0, load=1) > 0.5
    for step in range(60):
        signals.observe_first_token(0.1, tokens_in=100, prefilling_tokens=0, load=1, now=22.0 + step / 10)
    assert signals.predict_ttft_s(tokens_in=100, prefilling_tokens=0, load=1) < 0.15


def test_whole_answers_teach_the_total():
    signals = Signals()
    for step in range(300):
        signals.observe_whole(2.1, tokens_in=100, tokens_out=100, prefilling_tokens=0, load=2, now=step / 10)
    total = signals.predict_total_s(tokens_in=100, tokens_out=100, prefilling_tokens=0, load=2)
    assert abs(total - 2.1) < 0.05
    longer = signals.predict_total_s(tokens_in=100, tokens_out=200, prefilling_tokens=0, load=2)
    assert longer > 1.5 * total


def test_a_failure_is_a_round_trip_of_five_seconds_that_fades_and_successes_forgive():
    signals = taught(lambda _: 0.1, lambda _: 0.02)
    signals.penalize(now=30.0)
    assert signals.penalty_s(30.0) == 5.0
    assert abs(signals.penalty_s(40.0) - 5.0 / math.e) < 1e-9
    signals.penalize(now=40.0, seconds=1.0)
    assert signals.penalty_s(40.0) > 1.8
    for step in range(10):
        signals.observe_first_token(0.1, tokens_in=1, prefilling_tokens=0, load=1, now=40.0 + step)
    assert signals.penalty_s(40.0) < 0.01


def test_throughput_and_utilisation_fade():
    signals = Signals()
    for step in range(1000):
        signals.observe_decode(1.0, tokens=10, load=1, now=step / 10)
    assert abs(signals.tokens_per_s(99.9) - 100.0) < 5.0
    assert signals.utilisation(99.9) > 0.95
    assert signals.utilisation(200.0) < 0.01


seen = st.tuples(st.floats(0, 1e4), st.integers(0, 10**6), st.integers(0, 10**5), st.integers(0, 10**4), st.booleans())


@given(st.lists(seen, max_size=40))
def test_predictions_are_finite_and_not_negative_whatever_was_seen(observed):
    signals = Signals()
    for at, (seconds, tokens_in, tokens_out, load, whole) in enumerate(observed):
        if whole:
            signals.observe_whole(
                seconds, tokens_in=tokens_in, tokens_out=tokens_out, prefilling_tokens=0, load=load, now=at
            )
        else:
            signals.observe_first_token(seconds, tokens_in=tokens_in, prefilling_tokens=0, load=load, now=at)
            signals.observe_decode(seconds, tokens=tokens_out, load=load, now=at)
    total = signals.predict_total_s(tokens_in=10**6, tokens_out=10**5, prefilling_tokens=10**6, load=10**4)
    assert 0.0 <= total < math.inf
