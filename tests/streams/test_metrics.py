import asyncio
from contextlib import nullcontext

import pytest
from prometheus_client import CollectorRegistry

from citadel_edge.config.shape import ListenerName
from citadel_edge.streams.metrics import How, Left, Resumed, StreamMetrics, Transport

STREAMING = ListenerName.STREAMING


class Hands:
    """A clock that is set by hand."""

    def __init__(self):
        self.now_s = 100.0

    def monotonic_s(self):
        return self.now_s


@pytest.fixture
def clock():
    return Hands()


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def door(registry, clock):
    return StreamMetrics(registry, clock).of(STREAMING)


@pytest.fixture
def value(registry):
    def read(name, **labels):
        return registry.get_sample_value(f"citadel_streaming_{name}", {"listener": "streaming-api", **labels})

    return read


@pytest.mark.parametrize(
    ("raised", "said", "reason"),
    [
        (None, None, "done"),
        (asyncio.CancelledError(), None, "client"),
        (ConnectionResetError(), None, "client"),
        (TimeoutError(), None, "slow"),
        (ZeroDivisionError(), None, "error"),
        (asyncio.CancelledError(), Left.KEY, "key"),
        (None, Left.DRAINING, "draining"),
    ],
)
def test_a_connection_is_counted_while_it_lasts_and_by_why_it_ended(door, value, raised, said, reason):
    with pytest.raises(type(raised)) if raised else nullcontext(), door.connected(Transport.SSE) as connection:
        assert value("connections", transport="sse") == door.open[Transport.SSE] == 1
        connection.left = said
        if raised:
            raise raised
    assert value("connections", transport="sse") == door.open[Transport.SSE] == 0
    assert value("disconnects_total", transport="sse", reason=reason) == 1


def test_a_reader_from_the_first_token_on_shows_its_wait_its_gaps_and_the_delivery(door, clock, value):
    delivery = door.delivery(asked_s=99.0)
    delivery.wrote(None, 0)  # a heartbeat
    clock.now_s = 100.4
    delivery.wrote(100.399, 1)
    clock.now_s = 100.42
    delivery.wrote(100.41, 3)
    delivery.wrote(None, 0)  # the terminal
    assert value("time_to_first_token_seconds_sum") == pytest.approx(1.4)
    assert value("time_to_first_token_seconds_count") == 1
    assert value("inter_token_seconds_sum") == pytest.approx(0.02)
    assert value("inter_token_seconds_count") == 1
    assert value("delivery_seconds_sum") == pytest.approx(0.011)
    assert value("delivery_seconds_count") == 2


def test_a_reader_who_joins_later_shows_no_wait_for_a_first_token(door, clock, value):
    delivery = door.delivery()
    delivery.wrote(None, 40)  # history
    clock.now_s += 0.5
    delivery.wrote(clock.now_s, 1)
    assert value("time_to_first_token_seconds_count") == 0
    assert value("inter_token_seconds_count") == 1
    assert value("delivery_seconds_count") == 1


def test_resumes_and_continuations_are_counted_by_outcome(door, value):
    for outcome in Resumed:
        door.resumed(outcome)
    for how in How:
        door.continued(how)
    assert [value("resumes_total", outcome=each) for each in ("full", "none", "refused")] == [1, 1, 1]
    assert [value("continuations_total", how=each) for each in ("replica", "takeover")] == [1, 1]
