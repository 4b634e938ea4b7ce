import asyncio
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from citadel_edge.telemetry.hub import Hub, Lost, Topic
from citadel_edge.telemetry.hub_metrics import HubMetrics


@pytest.fixture
def hub(clock):
    return Hub(clock)


async def read(subscription, count):
    return [await anext(subscription) for _ in range(count)]


def numbers(messages):
    return [message.payload["n"] for message in messages]


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
        hub.publish(Topic.USAGE, {})
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


async def test_a_batch_is_all_there_is_up_to_a_bound_and_says_how_far_it_reaches(hub):
    with hub.subscribe([Topic.USAGE, Topic.LIMITS]) as feed:
        for n in range(300):
            hub.publish(Topic.USAGE if n % 2 else Topic.LIMITS, {"n": n})
        hub.publish(Topic.HEALTH, {})
        first, second = await feed.batch(), await feed.batch()
    assert numbers([*first.messages, *second.messages]) == list(range(300))
    assert (len(first.messages), first.after, first.through) == (256, 0, 256)
    assert (second.after, second.through, second.lost) == (256, 301, 0)


async def test_a_slow_reader_misses_the_oldest_and_is_told_how_many(clock):
    hub = Hub(clock, kept=3)
    with hub.subscribe([Topic.USAGE]) as feed:
        for n in range(10):
            hub.publish(Topic.USAGE, {"n": n})
        got = await read(feed, 4)
    assert got[0] == Lost(7)
    assert numbers(got[1:]) == [7, 8, 9]


async def test_a_slow_reader_costs_the_others_nothing(clock):
    hub = Hub(clock, kept=1)
    with hub.subscribe([Topic.USAGE]), hub.subscribe([Topic.USAGE]) as other:
        for n in range(100):
            hub.publish(Topic.USAGE, {"n": n})
            assert numbers(await read(other, 1)) == [n]


async def test_a_busy_topic_costs_a_quiet_one_nothing(clock):
    hub = Hub(clock, kept=3)
    with hub.subscribe([Topic.HEALTH, Topic.USAGE]) as feed:
        hub.publish(Topic.HEALTH, {"n": -1})
        for n in range(10):
            hub.publish(Topic.USAGE, {"n": n})
        batch = await feed.batch()
    assert (batch.lost, numbers(batch.messages)) == (7, [-1, 7, 8, 9])


@given(st.lists(st.one_of(st.sampled_from(list(Topic)), st.just(None)), max_size=60), st.integers(1, 8))
def test_what_is_read_and_what_is_lost_is_all_there_was(steps, kept):
    hub = Hub(_Still(), kept=kept)
    published = read_or_lost = 0
    seen = []
    with hub.subscribe(list(Topic)) as feed:
        for step in [*steps, None]:
            if step is None:
                batch = feed.take()
                assert batch.through == hub.seq
                whole = [message for message in batch.messages if message.topic is not Topic.METRICS]
                seen += [message.seq for message in whole]
                read_or_lost += batch.lost + len(whole)
            else:
                hub.publish(step, {})
                published += step is not Topic.METRICS
    assert read_or_lost == published
    assert all(one < other for one, other in pairwise(seen))


@given(st.lists(st.sampled_from([Topic.HEALTH, Topic.USAGE, Topic.METRICS]), max_size=30), st.data())
def test_a_reader_that_comes_back_gets_what_it_has_not_seen_or_is_told_what_is_gone(topics, data):
    hub = Hub(_Still(), kept=data.draw(st.integers(1, 8)))
    for topic in topics:
        hub.publish(topic, {})
    after = data.draw(st.integers(0, hub.seq))
    wanted = data.draw(st.sets(st.sampled_from([Topic.HEALTH, Topic.USAGE]), min_size=1))
    missed = [n for n, topic in enumerate(topics, 1) if topic in wanted and n > after]
    with hub.subscribe(wanted, after=after) as feed:
        batch = feed.take()
    gone = hub.missing(wanted, after)
    assert batch.lost == 0
    if gone is None:
        assert [message.seq for message in batch.messages] == missed
    else:
        assert gone in missed
        shown = {message.seq for message in batch.messages}
        assert {n for n in missed if n > gone} <= shown <= set(missed)


class _Still:
    def unix_s(self):
        return 0.0

    def monotonic_s(self):
        return 0.0


async def test_of_metrics_only_the_latest_waits_and_that_is_no_loss(hub):
    with hub.subscribe([Topic.METRICS, Topic.HEALTH]) as feed:
        hub.publish(Topic.METRICS, {"n": 1})
        hub.publish(Topic.HEALTH, {"n": 2})
        hub.publish(Topic.METRICS, {"n": 3})
        got = await read(feed, 2)
    assert [(m.topic, m.payload["n"]) for m in got] == [(Topic.HEALTH, 2), (Topic.METRICS, 3)]


@pytest.mark.parametrize(
    ("asked_s", "pace_s", "seen"),
    [
        (0.2, 0.2, [0.2, 0.4, 0.6, 0.8, 1.0]),
        (1.0, 1.0, [1, 2, 3, 4, 5, 6]),
        (2.0, 1.0, [1, 3, 5, 7, 9]),
        (2.5, 1.0, [1, 3, 6, 8, 11, 13]),
        (60.0, 1.0, [1, 61, 121]),
    ],
)
async def test_metrics_come_as_often_as_asked(clock, asked_s, pace_s, seen):
    hub = Hub(clock)
    got = []
    with hub.subscribe([Topic.METRICS], metrics_every_s=asked_s) as feed:
        assert hub.pace_s == pace_s
        for _ in range(round(seen[-1] / pace_s)):
            clock.advance(pace_s)
            hub.publish(Topic.METRICS, {"at": clock.elapsed_s})
            got += [message.payload["at"] for message in feed.take().messages]
    assert got == [pytest.approx(at) for at in seen]
    assert hub.pace_s == 1.0


async def test_metrics_are_published_as_often_as_the_most_eager_reader_asks(hub):
    with hub.subscribe([Topic.METRICS], metrics_every_s=5), hub.subscribe([Topic.HEALTH], metrics_every_s=0.2):
        assert hub.pace_s == 1.0
        with hub.subscribe([Topic.METRICS], metrics_every_s=0.5), hub.subscribe([Topic.METRICS], metrics_every_s=0.5):
            assert hub.pace_s == 0.5
        assert hub.pace_s == 1.0


async def test_metrics_that_are_not_due_wake_nobody(clock, start):
    hub = Hub(clock)
    hub.publish(Topic.METRICS, {"n": 1})
    with hub.subscribe([Topic.METRICS], metrics_every_s=10) as feed:
        assert numbers((await feed.batch()).messages) == [1]
        waiting = start(feed.batch())
        await asyncio.sleep(0)
        for n in range(2, 12):
            clock.advance(1)
            hub.publish(Topic.METRICS, {"n": n})
            await asyncio.sleep(0)
            assert waiting.done() == (n == 11)
        assert numbers((await waiting).messages) == [11]


async def test_late_joiners_see_the_recent_past_bounded(hub):
    for n in range(3000):
        hub.publish(Topic.DECISIONS, {"n": n})
        hub.publish(Topic.METRICS, {"n": n})
    assert numbers(hub.last(Topic.DECISIONS, 2)) == [2998, 2999]
    assert len(hub.last(Topic.DECISIONS, 10_000)) == 1024
    assert numbers(hub.last(Topic.METRICS, 5)) == [2999]
    assert hub.last(Topic.HEALTH, 5) == []
    assert hub.last(Topic.DECISIONS, 0) == []
    with hub.subscribe([Topic.DECISIONS, Topic.METRICS], recent=2) as feed:
        assert numbers(await read(feed, 3)) == [2998, 2999, 2999]


async def test_a_payload_is_made_once_when_somebody_reads_it(hub):
    made = []

    def make():
        made.append(1)
        return {"n": len(made)}

    hub.publish_lazily(Topic.DECISIONS, make)
    assert made == []
    with hub.subscribe([Topic.DECISIONS], recent=1) as feed, hub.subscribe([Topic.DECISIONS], recent=1) as other:
        assert numbers([await anext(feed), await anext(other)]) == [1, 1]
    assert numbers(hub.last(Topic.DECISIONS, 2)) == [1]


async def test_a_message_is_encoded_once_for_all_its_readers(hub):
    with hub.subscribe([Topic.LIMITS]) as feed, hub.subscribe([Topic.LIMITS]) as other:
        hub.publish(Topic.LIMITS, {"user": "usr_1"})
        body = (await anext(feed)).body
        assert (await anext(other)).body is body
    assert msgspec.json.decode(body) == {"seq": 1, "at": 1_800_000_000.25, "data": {"user": "usr_1"}}


async def test_closing_ends_readers_after_what_waits_and_those_who_come_later(hub):
    with hub.subscribe([Topic.HEALTH]) as feed:
        hub.publish(Topic.HEALTH, {"n": 1})
        hub.close()
        assert [m.payload["n"] async for m in feed] == [1]
    with hub.subscribe([Topic.HEALTH]) as late:
        assert [m async for m in late] == []
        assert not await late.batch()


async def test_closing_wakes_a_waiting_reader(hub, start):
    with hub.subscribe([Topic.HEALTH]) as feed:
        waiting = start(anext(feed, None))
        await asyncio.sleep(0)
        hub.close()
        assert await waiting is None


async def test_readers_and_losses_are_counted(clock):
    registry = CollectorRegistry()
    hub = Hub(clock, meter=HubMetrics(registry), kept=1)

    def readers():
        return registry.get_sample_value("citadel_hub_subscribers", {"topic": "usage"})

    with hub.subscribe([Topic.USAGE]) as feed:
        hub.publish(Topic.USAGE, {})
        hub.publish(Topic.USAGE, {})
        assert readers() == hub.subscribers()[Topic.USAGE] == 1
        await feed.batch()
    assert readers() == hub.subscribers()[Topic.USAGE] == 0
    assert registry.get_sample_value("citadel_hub_lost_messages_total") == 1


def test_hubs_have_epochs_of_their_own(clock):
    assert len({Hub(clock).epoch for _ in range(100)}) == 100
    assert all(len(Hub(clock).epoch) == 8 for _ in range(10))
