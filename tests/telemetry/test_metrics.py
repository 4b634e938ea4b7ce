import asyncio
import math

import pytest
from prometheus_client import Counter
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from citadel_edge.config.shape import ListenerName
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.loop_lag import watch_loop
from citadel_edge.telemetry.metrics import Registries

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"


@pytest.fixture
def registries():
    return Registries(version="1.2.3")


def names(body):
    return {family.name for family in read_text(body.decode())}


async def test_process_wide_families_are_on_the_routing_api_alone(registries):
    routing, _ = await registries.render(ListenerName.ROUTING, "")
    assert {
        "process_resident_memory_bytes",
        "python_gc_collections",
        "citadel_build_info",
        "citadel_loop_lag_seconds",
    } <= names(routing)
    assert b'citadel_build_info{python="3' in routing
    assert b'version="1.2.3"' in routing
    for other in set(ListenerName) - {ListenerName.ROUTING}:
        assert names((await registries.render(other, ""))[0]) == set()


async def test_a_family_shows_on_its_own_port_alone(registries):
    Counter("citadel_ops", "x", registry=registries.of(ListenerName.GRAPHQL)).inc(3)
    assert b"citadel_ops_total 3.0" in (await registries.render(ListenerName.GRAPHQL, ""))[0]
    assert b"citadel_ops" not in (await registries.render(ListenerName.STREAMING, ""))[0]


@pytest.mark.parametrize("accept", [OPENMETRICS, "text/html, Application/OpenMetrics-Text; version=junk; q=x"])
async def test_openmetrics_is_given_to_those_who_ask(registries, accept):
    body, content_type = await registries.render(ListenerName.ROUTING, accept)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith(b"# EOF\n")
    assert {family.name for family in read_openmetrics(body.decode())} >= {"citadel_loop_lag_seconds", "citadel_build"}


@pytest.mark.parametrize(
    "accept", ["", "*/*", "text/plain;version=junk", "text/plain;version=9.9.9", "text/html;;;,,,", "\x00=;=,="]
)
async def test_anybody_else_gets_plain_text(registries, accept):
    body, content_type = await registries.render(ListenerName.ROUTING, accept)
    assert content_type.startswith("text/plain; version=0.0.4")
    assert names(body)


async def test_times_of_creation_are_not_written(registries):
    Counter("citadel_ops", "x", registry=registries.of(ListenerName.GRAPHQL)).inc()
    for accept in ("", OPENMETRICS):
        assert b"_created" not in (await registries.render(ListenerName.GRAPHQL, accept))[0]


async def test_scrapes_at_once_all_get_an_answer_while_the_loop_goes_on(registries, start):
    counter = Counter("citadel_ops", "x", ["n"], registry=registries.of(ListenerName.GRAPHQL))
    for n in range(2000):
        counter.labels(str(n)).inc()
    scrapes = [start(registries.render(ListenerName.GRAPHQL, "")) for _ in range(4)]
    turns = 0
    while not all(scrape.done() for scrape in scrapes):
        await asyncio.sleep(0)
        turns += 1
    assert turns > 4
    assert {len(names((await scrape)[0])) for scrape in scrapes} == {1}


async def test_a_cancelled_scrape_leaves_the_next_one_its_turn(registries, start):
    scrape = start(registries.render(ListenerName.ROUTING, ""))
    await asyncio.sleep(0)
    scrape.cancel()
    with pytest.raises(asyncio.CancelledError):
        await scrape
    assert (await registries.render(ListenerName.ROUTING, ""))[0]


async def test_a_held_up_loop_shows_in_its_lag(registries, start):
    loop = asyncio.get_running_loop()
    watch = start(watch_loop(registries.loop_lag, Clock(), interval_s=0.01))
    await asyncio.sleep(0.05)
    held_up_until = loop.time() + 0.15
    while loop.time() < held_up_until:
        pass
    await asyncio.sleep(0.05)
    watch.cancel()
    lag = registries.loop_lag
    assert sum(count for bound, count in zip((*lag.bounds, math.inf), lag.counts, strict=True) if bound > 0.1) >= 1
