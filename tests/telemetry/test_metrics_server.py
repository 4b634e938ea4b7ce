"""History asked of a real Prometheus, and what is said when a server is away, slow, wrong or too talkative."""

import asyncio
import math
import re
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from citadel_edge.errors import Code, MetricsServerUnavailable, RequestError
from citadel_edge.telemetry import metrics_server as module
from citadel_edge.telemetry.metrics_server import MOST_BYTES, MOST_CHARS, MOST_POINTS, Kind, MetricsServer, Readings
from prometheus_server import prometheus_serving

MINUTES = 30
FIRST_S = int(time.time()) // 60 * 60 - 3600  # noqa: TID251 - the server forgets what is older than 15 days
FIRST = datetime.fromtimestamp(FIRST_S, UTC)
LAST = FIRST + timedelta(minutes=MINUTES - 1)


def samples():
    yield "# TYPE jobs gauge"
    for minute in range(MINUTES):
        for queue, value in (("a", minute), ("b", 100 - minute)):
            yield f'jobs{{queue="{queue}"}} {value} {FIRST_S + 60 * minute}'
    yield "# EOF"


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory):
    with prometheus_serving("\n".join(samples()) + "\n", tmp_path_factory.mktemp("prometheus")) as url:
        yield url


@pytest.fixture
async def server(prometheus):
    async with MetricsServer.open(prometheus + "/") as opened:
        yield opened


@asynccontextmanager
async def answering(handler):
    """A server of another kind, and a client of it."""
    app = web.Application()
    app.router.add_post("/prefix/api/v1/query", handler)
    async with TestServer(app) as served, MetricsServer.open(str(served.make_url("/prefix"))) as client:
        yield client


def saying(body, status=200):
    async def handler(_):
        return web.Response(text=body, status=status, content_type="application/json")

    return answering(handler)


async def test_a_range_is_series_of_samples_every_step(server):
    found = await server.range("jobs", since=FIRST, until=LAST, step_s=60)
    assert found.kind is Kind.MATRIX
    by_queue = {series.labels["queue"]: series for series in found.series}
    assert by_queue["a"].labels == {"__name__": "jobs", "queue": "a"}
    assert by_queue["a"].samples == tuple((FIRST_S + 60 * minute, float(minute)) for minute in range(MINUTES))
    assert by_queue["b"].samples[-1] == (LAST.timestamp(), 100.0 - 29)
    every_ten = await server.range('sum(jobs{queue=~"a|b"})', since=FIRST, until=LAST, step_s=600)
    assert [series.samples for series in every_ten.series] == [tuple((FIRST_S + 600 * n, 100.0) for n in range(3))]


async def test_an_instant_is_one_sample_a_series(server):
    found = await server.instant('jobs{queue="a"}', at=FIRST + timedelta(minutes=7))
    assert found.kind is Kind.VECTOR
    assert [series.samples for series in found.series] == [((FIRST_S + 420, 7.0),)]
    range_vector = await server.instant('jobs{queue="a"}[3m]', at=FIRST + timedelta(minutes=7, seconds=1))
    assert range_vector.kind is Kind.MATRIX
    assert [value for _, value in range_vector.series[0].samples] == [5.0, 6.0, 7.0]


async def test_numbers_and_texts_are_answers_too(server):
    now = await server.instant("1 / 0")
    assert now.kind is Kind.SCALAR
    assert now.series[0].samples[0][1] == math.inf
    assert math.isnan((await server.instant("0 / 0")).series[0].samples[0][1])
    assert (await server.instant('"words"')).text == "words"
    assert await server.instant("nothing_of_this_name") == Readings(kind=Kind.VECTOR)


async def test_a_wrong_query_is_answered_in_the_servers_own_words(server):
    for query, words in (
        ("jobs{", "parse error"),
        ("sum(jobs) by", "parse error"),
        ('jobs + on(x) "a"', "parse error"),
    ):
        with pytest.raises(RequestError, match=words) as caught:
            await server.instant(query)
        assert (caught.value.code, caught.value.param) == (Code.INVALID_REQUEST, "query")
    with pytest.raises(RequestError, match=r"multiple matches|many-to-many"):
        await server.instant("jobs * on() jobs", at=FIRST + timedelta(minutes=7))


async def test_what_is_too_much_is_refused_before_the_server_is_asked(server):
    asked = {"since": FIRST, "until": LAST, "step_s": 60.0}
    for changes, param in (
        ({"step_s": 0.1}, "step"),
        ({"step_s": 0.0}, "step"),
        ({"step_s": math.nan}, "step"),
        ({"step_s": 3.2e16}, "step"),
        ({"until": FIRST - timedelta(seconds=1)}, "range"),
    ):
        with pytest.raises(RequestError) as caught:
            await server.range("jobs", **{**asked, **changes})
        assert (caught.value.code, caught.value.param) == (Code.INVALID_REQUEST, param)
    for query in ("", "  \n", "a" * (MOST_CHARS + 1)):
        with pytest.raises(RequestError) as caught:
            await server.instant(query)
        assert caught.value.param == "query"


async def test_as_many_points_as_are_allowed_are_no_error_of_the_server(server):
    until = FIRST + timedelta(milliseconds=100 * (MOST_POINTS - 1))
    found = await server.range('jobs{queue="a"}', since=FIRST, until=until, step_s=0.1009)
    assert len(found.series[0].samples) == MOST_POINTS
    with pytest.raises(RequestError):
        await server.range("jobs", since=FIRST, until=until + timedelta(milliseconds=100), step_s=0.1009)


async def test_without_a_server_it_is_said_how_to_have_one():
    async with MetricsServer.open(None) as none:
        with pytest.raises(MetricsServerUnavailable, match=re.escape("metrics_server.url")):
            await none.instant("up")


async def test_a_server_that_is_away_or_silent_is_unavailable(monkeypatch, unused_tcp_port):
    async with MetricsServer.open(f"http://127.0.0.1:{unused_tcp_port}") as away:
        with pytest.raises(MetricsServerUnavailable, match="away"):
            await away.instant("up")

    async def never(_):
        await asyncio.sleep(60)

    monkeypatch.setattr(module, "WITHIN_S", 0.1)
    async with answering(never) as silent:
        with pytest.raises(MetricsServerUnavailable, match="did not answer within"):
            await silent.instant("up")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("<html>", 200),
        ("{}", 200),
        ('{"status": "success"}', 200),
        ('{"status": "success", "data": {"resultType": "vector", "result": {"metric": 1}}}', 200),
        ('{"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1, "x"]}]}}', 200),
        ('{"status": "success", "data": {"resultType": "heap", "result": []}}', 200),
        ('{"status": "error", "errorType": "timeout", "error": "query timed out"}', 503),
        ('{"status": "error", "errorType": "timeout", "error": "query timed out"}', 422),
        ('{"status": "error", "errorType": "internal", "error": "disk"}', 500),
        ("Unauthorized", 401),
        ("", 302),
    ],
)
async def test_whatever_else_it_answers_is_the_servers_fault(body, status):
    async with saying(body, status) as client:
        with pytest.raises(MetricsServerUnavailable):
            await client.instant("up")


async def test_an_answer_beyond_the_bound_is_not_read_to_its_end():
    sent = 0

    async def flood(request):
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"[" * 2**16)
            sent += 2**16

    async with answering(flood) as client:
        with pytest.raises(RequestError, match="too large"):
            await client.instant("up")
    assert sent < 4 * MOST_BYTES


async def test_warnings_are_passed_on_and_native_histograms_have_no_samples():
    body = (
        '{"status": "success", "warnings": ["partial"], "data": {"resultType": "matrix", '
        '"result": [{"metric": {"a": "b"}, "histograms": [[1, {"count": "2"}]]}]}}'
    )
    async with saying(body) as client:
        found = await client.instant("up")
    assert found.warnings == ("partial",)
    assert [(series.labels, series.samples) for series in found.series] == [({"a": "b"}, ())]
