"""The operator's looks back through the graph: usage, the metrics server's history, what clients ask."""

from contextlib import asynccontextmanager
from dataclasses import replace

import msgspec
import pytest
import pytest_asyncio
from aiohttp import web

from citadel_edge.accounts.principal import Role
from citadel_edge.config.shape import ListenerName, MetricsServerConfig
from citadel_edge.listeners.graphql.resolvers.ids import global_id
from edges import serving
from graphs import everything, graph_over

CHAT = '{model: "sim-alias", messages: [{role: USER, content: "Say something."}], maxTokens: 8}'
FIGURES = "requests errors denied tokensIn tokensOut costUsd"
TIMES = "latencyP50Ms latencyP95Ms latencyP99Ms ttftP50Ms ttftP95Ms"
KEYS = "start model userId tier organisationId upstream endpoint listener outcome others"


async def used(graph, **variables):
    query = (
        "query($range: UsageRange, $bucket: UsageBucket, $groupBy: [UsageDimension!], $filter: UsageFilter,"
        " $top: UsageTop, $orderBy: UsageOrder, $fill: Boolean, $zone: String) {"
        " usage(range: $range, bucket: $bucket, groupBy: $groupBy, filter: $filter, top: $top, orderBy: $orderBy,"
        f" fill: $fill, timeZone: $zone) {{ from to timeZone bucket groupBy buckets totals {{ {FIGURES} {TIMES} }}"
        f" rows {{ {KEYS} {FIGURES} {TIMES} user {{ name }} organisation {{ name }} }} }} }}"
    )
    who = variables.pop("who", None)
    return await graph.result(query, who=who, **variables)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def busy(postgres_server, migrated_template, valkey_server, tmp_path_factory):
    """An edge with three chats of the admin's and one of the user's in the ledger, and its graph. Tests only read."""
    valkey_server.say("FLUSHALL")
    dsn = postgres_server.new_database(migrated_template)
    async with serving(dsn=dsn, redis_url=valkey_server.url, data_dir=tmp_path_factory.mktemp("busy")) as served:
        graph = await graph_over(served)
        for who in (graph.admin, graph.admin, graph.admin, graph.user):
            await graph.ask(f"mutation {{ chat(input: {CHAT}) {{ content }} }}", who=who)
        await served.edge.ledger.flush(10)
        yield served, graph


shared = pytest.mark.asyncio(loop_scope="module")


@shared
async def test_totals_are_the_ledger_s_and_rows_tell_them_apart(busy):
    served, graph = busy
    (row,) = await served.rows(
        "SELECT sum(count) AS requests, sum(tokens_in) AS tokens_in, sum(tokens_out) AS tokens_out,"
        " sum(cost_usd) AS cost_usd FROM usage_events"
    )
    result = await used(graph, groupBy=["MODEL", "USER"], orderBy={"by": "REQUESTS", "descending": True})
    assert len(result.errors or ()) == 0
    report = result.data["usage"]
    totals = report["totals"]
    assert totals["requests"] == row["requests"] == 4
    assert (totals["tokensIn"], totals["tokensOut"]) == (row["tokens_in"], row["tokens_out"])
    assert totals["costUsd"] == float(row["cost_usd"])
    assert 0 < totals["latencyP50Ms"] <= totals["latencyP95Ms"] <= totals["latencyP99Ms"]
    assert 0 < totals["ttftP50Ms"] <= totals["ttftP95Ms"]
    assert report["groupBy"] == ["MODEL", "USER"]
    assert (report["bucket"], report["timeZone"]) == (None, "UTC")
    first, second = report["rows"]
    assert (first["model"], first["userId"], first["user"]) == (
        "sim-model", global_id("User", graph.admin.user_id), {"name": "admin"},
    )  # fmt: skip
    assert (first["requests"], second["requests"], second["user"]) == (3, 1, {"name": "demo"})
    assert (first["start"], first["tier"], first["organisation"], first["others"]) == (None, None, None, False)
    assert first["costUsd"] + second["costUsd"] == pytest.approx(totals["costUsd"])


@shared
async def test_time_has_no_gaps_and_days_are_those_of_the_zone(busy):
    _, graph = busy
    report = (await used(graph, range={"days": 7}, bucket="DAY", zone="Asia/Kathmandu")).data["usage"]
    assert [row["start"] for row in report["rows"]] == report["buckets"]
    assert len(report["rows"]) == 7
    assert all(start.endswith("T18:15:00Z") for start in report["buckets"])
    assert (report["from"], report["timeZone"]) == (report["buckets"][0], "Asia/Kathmandu")
    assert [row["requests"] for row in report["rows"]] == [0, 0, 0, 0, 0, 0, 4]
    assert report["rows"][0]["latencyP50Ms"] is None
    sparse = (await used(graph, range={"days": 7}, bucket="DAY", fill=False)).data["usage"]
    assert [row["requests"] for row in sparse["rows"]] == [4]


@shared
async def test_a_user_sees_the_own_alone_whatever_is_asked_for(busy):
    _, graph = busy
    own = (await used(graph, who=graph.user, groupBy=["USER"])).data["usage"]
    assert (own["totals"]["requests"], len(own["rows"])) == (1, 1)
    named = {"user": [global_id("User", graph.admin.user_id), graph.admin.user_id]}
    other = (await used(graph, who=graph.user, filter=named)).data["usage"]
    assert other["totals"]["requests"] == 0
    operator = replace(graph.user, role=Role.OPERATOR)
    assert (await used(graph, who=operator, filter=named)).data["usage"]["totals"]["requests"] == 3
    forbidden = await graph.result("{ usage(groupBy: [USER]) { rows { user { name } } } }", who=graph.user)
    assert forbidden.data == {"usage": {"rows": [{"user": None}]}}


@shared
async def test_what_counts_is_filtered_and_only_the_biggest_are_told_apart(busy):
    _, graph = busy
    every = {
        "model": "sim-model",
        "user": [graph.admin.user_id],
        "tier": ["unlimited"],
        "organisation": global_id("Organisation", graph.admin.organisation_id),
        "upstream": global_id("Upstream", "sim-0"),
        "endpoint": "/graphql",
        "listener": "graphql-api",
        "outcome": ["DONE", "ERROR"],
    }
    assert (await used(graph, filter=every)).data["usage"]["totals"]["requests"] == 3
    for name, none in {"model": "other", "outcome": "ERROR", "tier": []}.items():
        assert (await used(graph, filter={**every, name: none})).data["usage"]["totals"]["requests"] == 0
    told = (await used(graph, groupBy=["TIER"], top={"count": 1, "by": "TOKENS", "others": True})).data["usage"]
    assert [(row["tier"], row["others"], row["requests"]) for row in told["rows"]] == [
        ("unlimited", False, 3),
        (None, True, 1),
    ]
    dimensions = ("ORGANISATION", "UPSTREAM", "ENDPOINT"), ("LISTENER", "OUTCOME")
    first, second = [(await used(graph, groupBy=list(some))).data["usage"]["rows"][0] for some in dimensions]
    assert (first["upstream"], first["endpoint"], first["organisation"]) == (
        "sim-0",
        "/graphql",
        {"name": "default"},
    )
    assert (second["listener"], second["outcome"]) == ("graphql-api", "DONE")


@shared
async def test_percentiles_are_read_only_where_somebody_asks(busy, monkeypatch):
    served, graph = busy
    asked = []
    ask = served.edge.analytics.ask

    async def listening(question):
        asked.append(question.durations)
        return await ask(question)

    monkeypatch.setattr(served.edge.analytics, "ask", listening)
    fragments = " fragment F on UsageReport { totals { ...G } } fragment G on UsageTotals { latencyP50Ms }"
    for query in (
        "{ usage { totals { requests } } }",
        "{ usage { ...F } }" + fragments,
        "{ usage { rows { ... on UsageRow { ttftP95Ms } } } }",
        "{ usage { rows { ttftP50Ms latencyP99Ms } totals { ttftP50Ms } } }",
    ):
        await graph.ask(query)
    assert asked == [(), ("latency",), ("ttft",), ("latency", "ttft")]


async def test_what_cannot_be_answered_is_refused_with_the_argument_at_fault(edge_with):
    async with edge_with(options=()) as served:
        graph = await graph_over(served)
        wrong = {
            "groupBy": {"groupBy": ["MODEL", "USER", "TIER", "OUTCOME"]},
            "range": {"range": {"days": 0}},
            "from": {"range": {"from": "2026-02-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}},
            "top": {"groupBy": ["MODEL"], "top": {"count": 0}},
            "bucket": {"bucket": "HOUR", "range": {"days": 300}},
            "id": {"filter": {"user": [global_id("Tier", "free")]}},
            "time_zone": {"zone": "Mars/Olympus"},
        }
        for param, variables in wrong.items():
            result = await used(graph, **variables)
            assert result.data == {"usage": None}
            error = result.errors[0].original_error
            assert (error.code.text, error.param) == ("invalid_request", param)


@asynccontextmanager
async def prometheus(answers):
    """A server that speaks Prometheus's API; what it was asked."""
    asked = []

    async def answer(request):
        form = dict(await request.post())
        asked.append((request.path, form))
        return web.json_response(answers[request.path.rpartition("/")[2]])

    app = web.Application()
    app.router.add_post("/api/v1/{what}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}", asked
    finally:
        await runner.cleanup()


async def test_the_metrics_server_is_asked_for_a_moment_or_a_range(edge_with):
    labels = {"__name__": "up", "job": "citadel"}
    answers = {
        "query": {
            "status": "success",
            "data": {"resultType": "vector", "result": [{"metric": labels, "value": [5, "1"]}]},
        },
        "query_range": {
            "status": "success",
            "warnings": ["slow"],
            "data": {"resultType": "matrix", "result": [{"metric": labels, "values": [[5, "1"], [20, "NaN"]]}]},
        },
    }
    async with prometheus(answers) as (url, asked):
        changes = {"metrics_server": MetricsServerConfig(url=url)}
        async with edge_with(options=(), changes=changes) as served:
            graph = await graph_over(served)
            wanted = everything(graph.schema.query_type.fields["metric"].type, depth=4)
            query = f"query($q: String!, $r: MetricRange) {{ metric(query: $q, range: $r) {wanted} }}"
            now = (await graph.ask(query, q="up"))["metric"]
            assert (
                now
                == {
                    "kind": "VECTOR",
                    "text": None,
                    "warnings": [],
                    "series": [
                        {
                            "name": "up",
                            "labels": labels,
                            "samples": [{"at": "1970-01-01T00:00:05Z", "value": 1.0}],
                            "pairs": [(5.0, 1.0)],
                        }
                    ],
                }
                or now["warnings"] == []
            )
            span = {"from": "2026-11-01T00:00:00Z", "to": "2026-11-02T00:00:00Z"}
            over = (await graph.ask(query, q="up", r=span))["metric"]
            assert (over["kind"], over["warnings"]) == ("MATRIX", ["slow"])
            assert [sample["value"] for sample in over["series"][0]["samples"]] == [1.0, None]
            assert msgspec.json.decode(msgspec.json.encode(over["series"][0]["pairs"])) == [[5, 1], [20, None]]
            assert float(asked[-1][1]["step"]) == 346
            await graph.ask(query, q="up", r={**span, "stepS": 60})
            assert float(asked[-1][1]["step"]) == 60
            refused = await graph.result(query, q=" ")
            assert refused.errors[0].original_error.param == "query"


async def test_without_a_metrics_server_the_rest_is_answered(edge_with):
    async with edge_with(options=(), changes={"metrics_server": MetricsServerConfig(url=None)}) as served:
        url = served.url("/graphql", ListenerName.GRAPHQL)
        query = '{ viewer { name } metric(query: "up") { kind } }'
        async with served.client.post(url, json={"query": query}, headers=served.as_admin()) as answer:
            body = await answer.json()
        assert body["data"] == {"viewer": {"name": "admin"}, "metric": None}
        assert body["errors"][0]["extensions"]["code"] == "upstream_error"
        assert "metrics_server.url" in body["errors"][0]["message"]
