"""What was decided, shown to whom it concerns; and what users thought of it."""

import asyncio
from dataclasses import replace

import pytest

from citadel_edge.config.shape import DecisionsConfig, ListenerName, RoutingConfig
from citadel_edge.simulator.options import SimulatorOptions
from edges import MODEL


def sampled(sample=1.0, kept=2048):
    decisions = DecisionsConfig(sample=sample, kept=kept)
    return {"routing": RoutingConfig(probe_interval_s=0.1, decisions=decisions)}


async def call(served, method, path, body=None, *, headers=None):
    async with served.client.request(
        method, served.url(path), json=body, headers=headers or served.as_user()
    ) as answer:
        return answer.status, await answer.json(content_type=None)


async def chat(served, *, headers=None, **fields):
    """One chat; its decision's id."""
    url = served.url("/v1/chat/completions")
    async with served.client.post(url, json=served.chat(**fields), headers=headers or served.as_user()) as answer:
        await answer.read()
        return answer.headers["X-Citadel-Decision"]


async def failing(served):
    """One chat that fails, however often it is tried; its decision's id."""
    await served.simulators[0].fault("500")
    name = await chat(served)
    await served.simulators[0].lift()
    return name


async def carried(served, count):
    """Wait until so many decisions are in PostgreSQL."""
    async with asyncio.timeout(10):
        while await served.edge.postgres.fetchval("SELECT count(*) FROM decisions") < count:
            await asyncio.sleep(0.05)


async def another_user(served):
    """Headers of a user who is not the demo user."""
    accounts = ListenerName.RATE_LIMITING
    async with served.client.post(
        served.url("/v1/users", accounts), json={"name": "ada", "tier": "free"}, headers=served.as_admin()
    ) as answer:
        user = await answer.json()
    async with served.client.post(
        served.url(f"/v1/users/{user['id']}/keys", accounts), json={}, headers=served.as_admin()
    ) as answer:
        return {"Authorization": f"Bearer {(await answer.json())['key']}"}


async def test_a_decision_tells_candidates_attempts_and_outcome(edge_with):
    async with edge_with(options=(SimulatorOptions(), SimulatorOptions())) as served:
        name = await chat(served)
        status, shown = await call(served, "GET", f"/v1/decisions/{name}")
        assert status == 200
        assert (shown["id"], shown["model"], shown["asked"], shown["outcome"]) == (name, MODEL, MODEL, "done")
        assert {each["upstream"] for each in shown["candidates"]} == {"sim-0", "sim-1"}
        (attempt,) = shown["attempts"]
        assert (attempt["upstream"], attempt["outcome"], attempt["status"]) == (shown["chosen"], "done", 200)
        assert attempt["duration_ms"] > 0
        status, listed = await call(served, "GET", "/v1/decisions")
        assert (status, [each["id"] for each in listed["data"]], listed["next"]) == (200, [name], None)
        assert listed["complete"] is True


async def test_a_retried_request_tells_both_attempts(edge_with):
    async with edge_with(options=(SimulatorOptions(), SimulatorOptions())) as served:
        for simulator in served.simulators[:1]:
            await simulator.fault("500", times=1)
        names = [await chat(served) for _ in range(2)]
        shown = [(await call(served, "GET", f"/v1/decisions/{name}"))[1] for name in names]
        (retried,) = [each for each in shown if len(each["attempts"]) == 2]
        assert [attempt["outcome"] for attempt in retried["attempts"]] == ["status", "done"]
        assert [attempt["upstream"] for attempt in retried["attempts"]] == ["sim-0", "sim-1"]


async def test_found_by_model_upstream_and_outcome_page_by_page(edge_with):
    async with edge_with() as served:
        failed = await failing(served)
        done = [await chat(served, model="sim-alias") for _ in range(3)]
        assert await found(served, "outcome=error") == [failed]
        assert await found(served, "outcome=done&limit=2") == done[:0:-1]
        assert await found(served, "model=sim-alias") == done[::-1]
        assert await found(served, f"model={MODEL}&upstream=sim-0") == [*done[::-1], failed]
        assert await found(served, "upstream=nobody") == []
        pages, after = [], ""
        while after is not None:
            _, page = await call(served, "GET", f"/v1/decisions?limit=3{f'&after={after}' if after else ''}")
            pages.append([each["id"] for each in page["data"]])
            after = page["next"]
        assert pages == [done[::-1], [failed]]
        for wrong in ("limit=0", "limit=999", "after=%21", "after=bm90X2E", "outcome=maybe", "model=%00"):
            status, problem = await call(served, "GET", f"/v1/decisions?{wrong}")
            assert (status, problem["param"]) == (400, wrong.partition("=")[0])


async def found(served, query):
    status, page = await call(served, "GET", f"/v1/decisions?{query}")
    assert status == 200
    return [each["id"] for each in page["data"]]


async def test_users_see_their_own_and_operators_all(edge_with):
    async with edge_with() as served:
        ada = await another_user(served)
        mine, hers = await chat(served), await chat(served, headers=ada)
        for headers, sees in ((served.as_user(), [mine]), (ada, [hers]), (served.as_admin(), [hers, mine])):
            _, page = await call(served, "GET", "/v1/decisions", headers=headers)
            assert [each["id"] for each in page["data"]] == sees
            for name in (mine, hers):
                status, _ = await call(served, "GET", f"/v1/decisions/{name}", headers=headers)
                assert status == (200 if name in sees else 404)
        for name in ("dec_0", "nonsense", f"dec_{'0' * 32}"):
            assert (await call(served, "GET", f"/v1/decisions/{name}"))[0] == 404


async def test_what_memory_forgot_is_in_the_database(edge_with):
    async with edge_with(changes=sampled(kept=1)) as served:
        names = [await chat(served) for _ in range(3)]
        await carried(served, 3)
        assert len(served.edge.pipeline.decisions) == 1
        assert (await call(served, "GET", f"/v1/decisions/{names[0]}"))[1]["id"] == names[0]
        assert await found(served, "") == names[::-1]


async def test_a_reload_changes_how_many_are_kept(edge_with):
    async with edge_with(changes=sampled(sample=0.0)) as served:
        names = [await chat(served) for _ in range(3)]
        edge = served.edge
        edge.config.replace(replace(edge.config.value, **sampled(sample=0.0, kept=2)))
        assert await found(served, "") == names[:0:-1]


async def test_the_text_of_a_prompt_is_in_no_decision(edge_with):
    async with edge_with(changes=sampled()) as served:
        name = await chat(served, messages=[{"role": "user", "content": "my secret is mirabelle"}])
        await carried(served, 1)
        assert "mirabelle" not in str(await call(served, "GET", f"/v1/decisions/{name}"))
        assert "mirabelle" not in await served.edge.postgres.fetchval("SELECT shown FROM decisions")


async def test_feedback_is_kept_once_a_user_and_decision_and_teaches(edge_with):
    async with edge_with(changes=sampled(sample=0.0)) as served:
        name = await chat(served)
        status, given = await call(
            served, "POST", "/v1/feedback", {"decision_id": name, "score": 0.25, "comment": "meh"}
        )
        assert (status, given["score"], given["replaced"]) == (200, 0.25, False)
        status, given = await call(served, "POST", "/v1/feedback", {"decision_id": name, "score": 1})
        assert (status, given["score"], given["replaced"], given["comment"]) == (200, 1, True, None)
        (row,) = await served.edge.postgres.fetch("SELECT * FROM feedback")
        assert (row["decision_id"], row["model"], row["score"], row["comment"]) == (name, MODEL, 1, None)
        opinions = sum(served.edge.skills.opinions(MODEL, task) for task in ("chat", "code", "math", "reasoning"))
        assert opinions == pytest.approx(1)
        await carried(served, 1)  # somebody will ask why, whatever the sample says


REFUSED = (
    ({"score": 2}, "score"),
    ({"score": -0.5}, "score"),
    ({"score": "good"}, "score"),
    ({"score": None}, "score"),
    ({"score": True}, "score"),
    ({"score": 1, "comment": "x" * 2001}, "comment"),
    ({"score": 1, "comment": 5}, "comment"),
    ({"score": 1, "stars": 5}, "stars"),
)


async def test_what_is_no_feedback_is_refused_by_name(edge_with):
    async with edge_with() as served:
        name = await chat(served)
        for body, param in REFUSED:
            status, problem = await call(served, "POST", "/v1/feedback", {"decision_id": name, **body})
            assert (status, problem["code"], problem.get("param")) == (400, "invalid_request", param), body


async def test_feedback_on_another_s_answer_is_404_for_everybody_else(edge_with):
    async with edge_with() as served:
        name = await chat(served)
        ada = await another_user(served)
        for headers in (ada, served.as_admin()):
            status, problem = await call(
                served, "POST", "/v1/feedback", {"decision_id": name, "score": 1}, headers=headers
            )
            assert (status, problem["code"]) == (404, "not_found")
        assert (await call(served, "POST", "/v1/feedback", {"decision_id": "dec_x", "score": 1}))[0] == 404
        assert (await call(served, "POST", "/v1/feedback", {"score": 1}))[0] == 400
        assert await served.edge.postgres.fetchval("SELECT count(*) FROM feedback") == 0


async def test_feedback_on_what_was_no_answer_is_a_conflict(edge_with):
    async with edge_with() as served:
        failed = await failing(served)
        status, problem = await call(served, "POST", "/v1/feedback", {"decision_id": failed, "score": 0})
        assert (status, problem["code"], problem["param"]) == (409, "conflict", "decision_id")
        assert "ended as 'error'" in problem["detail"]
        assert await served.edge.postgres.fetchval("SELECT count(*) FROM feedback") == 0
