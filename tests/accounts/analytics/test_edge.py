"""On a whole edge: what was answered is in the ledger, in the answer to a question, and soon in the sums."""

import asyncio
from datetime import timedelta
from zoneinfo import ZoneInfo

from citadel_edge.accounts.analytics.buckets import Bucket
from citadel_edge.accounts.analytics.dimensions import Dimension
from citadel_edge.accounts.analytics.question import Question
from citadel_edge.accounts.days import span
from citadel_edge.config.shape import ListenerName
from edges import MODEL, serving


async def test_a_chat_is_counted_before_and_after_it_is_rolled_up(
    migrated_dsn,
    redis_url,
    tmp_path,
    monkeypatch,
):
    monkeypatch.setattr("citadel_edge.accounts.analytics.rollups.SOON_S", 0.0)
    async with serving(dsn=migrated_dsn, redis_url=redis_url, data_dir=tmp_path) as served:
        edge = served.edge
        whole = span(None, None, ZoneInfo("UTC"), now=edge.clock.now() + timedelta(hours=1))
        question = Question(span=whole, bucket=Bucket.DAY, group_by=(Dimension.MODEL, Dimension.ENDPOINT))
        async with served.client.post(
            served.url("/v1/chat/completions"), json=served.chat(), headers=served.as_user()
        ) as answered:
            assert answered.status == 200
            usage = (await answered.json())["usage"]
        rows = await served.rows()
        assert len(rows) == 1
        for _ in range(2):
            answer = await edge.analytics.ask(question)
            [row] = answer.rows
            assert row.group == (MODEL, "/v1/chat/completions")
            assert (row.figures.requests, row.figures.tokens_in) == (1, usage["prompt_tokens"])
            assert row.figures.cost_usd == rows[0]["cost_usd"]
            async with asyncio.timeout(20):
                while await edge.postgres.fetchval("SELECT count(*) FROM usage_unrolled"):
                    await asyncio.sleep(0.05)
        assert await edge.postgres.fetchval("SELECT sum(requests)::int FROM usage_rollups WHERE series = 11") == 1
        metrics = (await edge.registries.render(ListenerName.ROUTING, ""))[0].decode()
        assert "citadel_analytics_rolled_total 1.0" in metrics
