"""Large answers of usage: priced by what is asked, bounded, and made without holding the loop."""

import asyncio
import gc
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import msgspec

from citadel_edge.config.graphql import GraphQLConfig
from citadel_edge.process.run import COLLECT_AFTER
from shelf import GRAPH

USERS = 10_000
STALL_S = 0.02
_ROWS = """
INSERT INTO usage_events (event_id, request_id, organisation_id, user_id, key_id, tier, model, endpoint, listener,
    attempts, tokens_in, tokens_out, cost_usd, outcome, duration_ms, count, created_at)
SELECT gen_random_uuid(), 'req', 'org', 'usr_' || n, 'key', 'free', 'm' || n % 4, '/v1', 'routing-api', 1, n, 1,
    0.001, 'done', n, 1, now() - interval '1 hour' FROM generate_series(1, $1::int) AS n
"""
FIELDS = "userId requests tokensIn tokensOut costUsd errors denied"


@asynccontextmanager
async def full(edge_with):
    """Ten thousand users, each with a row in the ledger; no cost is too high."""
    graphql = replace(GraphQLConfig(), cost_limit=100_000)
    async with edge_with(options=(), changes={"graphql": graphql}) as served:
        await served.edge.postgres.execute(_ROWS, USERS)
        yield served


async def asked(served, query, **variables):
    url = served.url("/graphql", GRAPH)
    body = {"query": query, "variables": variables}
    async with served.client.post(url, json=body, headers=served.as_admin()) as answer:
        return await asyncio.to_thread(msgspec.json.decode, await answer.read())


@asynccontextmanager
async def watched():
    """The longest that the loop was held, in seconds of this process's own work; the collector as in the process."""
    worst, before = [0.0], gc.get_threshold()

    async def watch():
        while True:
            worked = time.process_time()
            await asyncio.sleep(0)
            worst[0] = max(worst[0], time.process_time() - worked)
            await asyncio.sleep(0.001)

    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
    try:
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(watch())
            yield worst
            watching.cancel()
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


async def test_answers_of_ten_thousand_rows_hold_nobody_and_more_are_refused(edge_with):
    async with full(edge_with) as served:
        gaps = f"query ($days: Int) {{ usage(range: {{days: $days}}, bucket: HOUR, groupBy: [MODEL]) \
{{ rows {{ start model {FIELDS} }} }} }}"
        users = f"query {{ usage(groupBy: [USER]) {{ rows {{ {FIELDS} user {{ name }} }} }} }}"
        for name, query, variables, rows in (
            ("a row a user", users, {}, USERS),
            ("a row an hour", gaps, {"days": 100}, 4 * (100 * 24 - 24)),
        ):
            held = []
            for _ in range(4):
                async with watched() as worst:
                    answer = await asked(served, query, **variables)
                held.append(worst[0])
                assert "errors" not in answer, answer["errors"]
                assert len(answer["data"]["usage"]["rows"]) >= rows
            shown = ", ".join(f"{seconds * 1000:.1f}" for seconds in held)
            sys.stdout.write(f"{name}: the loop was held for {shown} ms of work at most\n")
            assert min(held) < STALL_S, f"{name}: what holds it is in every one of: {shown} ms"
        await served.edge.postgres.execute(_ROWS.replace("'usr_'", "'more_'"), 1)
        refused = (await asked(served, users))["errors"][0]
        assert "more than 10000 rows" in refused["message"]
        assert "`top`" in refused["message"]


async def test_the_cost_grows_with_the_range_and_is_held_against_the_limit(edge_with):
    async with edge_with(options=()) as served:
        query = f"query ($range: UsageRange) {{ usage(range: $range, bucket: DAY, groupBy: [MODEL, TIER]) \
{{ rows {{ {FIELDS} }} }} }}"
        costs = []
        for days in (1, 7, 30, 90):
            answer = await asked(served, query, range={"days": days})
            costs.append(answer["extensions"]["cost"]["requested"])
        assert costs == sorted(set(costs))
        assert costs[-1] > 10 * costs[0]
        hours = query.replace("DAY", "HOUR").replace("requests", "requests latencyP50Ms")
        refused = await asked(served, hours, range={"days": 90})
        assert "ask for fewer fields or items" in refused["errors"][0]["message"]
