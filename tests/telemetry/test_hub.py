import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from citadel_edge.telemetry.hub import Hub, Lost, Message, Topic
from citadel_edge.telemetry.hub_metrics import HubMetrics


@pytest.fixture
def hub(clock):
    return Hub(clock)


async def read(subscription, count):
    return [await anext(subscription) for _ in range(count)]


async def test_a_reader_gets_its_topics_in_order(hub):
    with hub.subscribe([Topic.HEALTH, Topic.USAGE]) as feed:
        hub.publish(Topic.HEALTH, {"n": 1})
        hub.publish(Topic.BREAKERS, {"n": 2})
        hub.publish(Topic.USAGE, {"n": 3})
        got = await read(feed, 2)
    assert [(m.seq, m.topic, m.payload["n"], m.at) for m in got] == [
        (1, Topic.HEALTH, 1, 1_800_000_000.25),
        (3, Topic.USAGE, 3, 1_800_000_000.25),
    ]


async def test_a_waiting_reader_is_woken(hub, start):
    with hub.subscribe([Topic.HEALTH]) as feed:
        waiting = start(anext(feed))
        await asyncio.sleep(0)
        assert not waiting.done()
        hub.publish(Topic.HEALTH, {})
        assert (await waiting).topic is Topic.HEALTH


async def test_a_cancelled_read_loses_nothing(hub, start):
    with hub.subscribe([Topic.HEALTH]) as feed:
        for n in range(20):
            reading = start(anext(feed))
            await asyncio.sleep(0)
            reading.cancel()
            hub.publish(Topic.HEALTH, {"n": n})
            with pytest.raises(asyncio.CancelledError):
                await reading
            assert (await anext(feed)).payload["n"] == n


async def test_a_slow_reader_loses_the_oldest_and_is_told_how_many(hub):
    with hub.subscribe([Topic.USAGE], size=3) as feed:
        for n in range(10):
            hub.publish(Topic.USAGE, {"n": n})
        got = await read(feed, 4)
    assert got[0] == Lost(7)
    assert [m.payload["n"] for m in got[1:]] == [7, 8, 9]


async def test_a_slow_reader_costs_the_others_nothing(hub):
    with hub.subscribe([Topic.USAGE], size=1), hub.subscribe([Topic.USAGE]) as other:
        for n in range(100):
            hub.publish(Topic.USAGE, {"n": n})
        assert [m.payload["n"] for m in await read(other, 100)] == list(range(100))


async def test_of_metrics_only_the_latest_waits_and_that_is_no_loss(hub):
    with hub.subscribe([Topic.METRICS, Topic.HEALTH]) as feed:
        hub.publish(Topic.METRICS, {"n": 1})
        hub.publish(Topic.HEALTH, {"n": 2})
        hub.publish(Topic.METRICS, {"n": 3})
        got = await read(feed, 2)
    assert [(m.topic, m.payload["n"]) for m in got] == [(Topic.HEALTH, 2), (Topic.METRICS, 3)]


@given(st.lists(st.one_of(st.sampled_from(list(Topic)), st.just(None)), max_size=60), st.integers(1, 8))
def test_what_is_read_and_what_is_lost_is_all_there_was(steps, size):
    async def play():
        hub = Hub(clock=_Still())
        published = read_or_lost = 0
        with hub.subscribe(list(Topic), size=size) as feed:
            for step in [*steps, *[None] * (size + 1)]:
                if step is None:
                    while feed._waiting:
                        got = await anext(feed)
                        read_or_lost += got.count if isinstance(got, Lost) else 1
                elif step is not Topic.METRICS:
                    hub.publish(step, {})
                    published += 1
        assert read_or_lost == published

    asyncio.run(play())


class _Still:
    def unix_s(self):
        return 0.0


async def test_late_joiners_see_the_recent_past_bounded(hub):
    for n in range(300):
        hub.publish(Topic.DECISIONS, {"n": n})
        hub.publish(Topic.METRICS, {"n": n})
    assert [m.payload["n"] for m in hub.last(Topic.DECISIONS, 2)] == [298, 299]
    assert len(hub.last(Topic.DECISIONS, 10_000)) == 256
    assert [m.payload["n"] for m in hub.last(Topic.METRICS, 5)] == [299]
    assert hub.last(Topic.HEALTH, 5) == []
    assert hub.last(Topic.DECISIONS, 0) == []


async def test_a_lazy_payload_is_written_when_somebody_reads_it(hub):
    made = []

    def make():
        made.append(1)
        return {"n": len(made)}

    hub.publish_lazily(Topic.DECISIONS, make)
    assert made == []
    with hub.subscribe([Topic.DECISIONS]) as feed:
        hub.publish_lazily(Topic.DECISIONS, make)
        assert (await anext(feed)).payload == {"n": 1}
    late, read_already = hub.last(Topic.DECISIONS, 2)
    assert (late.seq, late.payload, late.at) == (1, {"n": 2}, 1_800_000_000.25)
    assert read_already == Message(2, Topic.DECISIONS, {"n": 1}, 1_800_000_000.25)


async def test_closing_ends_readers_after_what_waits_and_those_who_come_later(hub):
    with hub.subscribe([Topic.HEALTH]) as feed:
        hub.publish(Topic.HEALTH, {"n": 1})
        hub.close()
        assert [m.payload["n"] async for m in feed] == [1]
    with hub.subscribe([Topic.HEALTH]) as late:
        assert [m async for m in late] == []


async def test_closing_wakes_a_waiting_reader(hub, start):
    with hub.subscribe([Topic.HEALTH]) as feed:
        waiting = start(anext(feed, None))
        await asyncio.sleep(0)
        hub.close()
        assert await waiting is None


async def test_readers_and_losses_are_counted(clock):
    registry = CollectorRegistry()
    hub = Hub(clock, meter=HubMetrics(registry))

    def readers():
        return registry.get_sample_value("citadel_hub_subscribers", {"topic": "usage"})

    with hub.subscribe([Topic.USAGE], size=1):
        hub.publish(Topic.USAGE, {})
        hub.publish(Topic.USAGE, {})
        assert readers() == hub.subscribers()[Topic.USAGE] == 1
    assert readers() == hub.subscribers()[Topic.USAGE] == 0
    assert registry.get_sample_value("citadel_hub_lost_messages_total") == 1


def test_a_message_can_be_written_as_json(hub):
    hub.publish(Topic.LIMITS, {"user": "usr_1"})
    written = msgspec.json.encode(hub.last(Topic.LIMITS, 1)[0])
    assert msgspec.json.decode(written, type=Message) == hub.last(Topic.LIMITS, 1)[0]
