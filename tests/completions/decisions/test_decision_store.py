"""Decisions in memory and in PostgreSQL: what is kept, for how long, and who pays for it."""

import asyncio
import signal
from contextlib import asynccontextmanager

import pytest
import structlog
from prometheus_client import CollectorRegistry

from citadel_edge.completions import decision_store, feedback_store
from citadel_edge.completions.decision_store import BATCH, MOST_WAITING, DecisionStore, DecisionStoreMetrics
from citadel_edge.completions.decisions import MOST_CANDIDATES, Decisions
from citadel_edge.completions.feedback_store import FeedbackStore
from citadel_edge.completions.history import Found, History, Wanted
from citadel_edge.config.live import Live
from citadel_edge.config.shape import (
    Config,
    DecisionsConfig,
    DeploymentConfig,
    ModelConfig,
    PostgresConfig,
    RoutingConfig,
)
from citadel_edge.errors import Code, PostgresUnavailable, RequestError
from citadel_edge.routing.candidates import Candidate, Excluded, Exclusion
from citadel_edge.routing.decision import Attempt, Decision, Estimate, Mark
from citadel_edge.routing.feedback import LearnedSkills
from citadel_edge.routing.models import Catalogue
from citadel_edge.storage.migrate import migrate
from citadel_edge.storage.postgres import PostgresPool
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.hub import Hub, Topic
from citadel_edge.telemetry.ids import uuid7

CLOCK = Clock()
ONE = ModelConfig(name="one", deployments=(DeploymentConfig(upstream="a"),), skills={"chat": 0.5, "code": 0.5})
(MODEL,) = Catalogue([ONE], created=0)


def attempt(outcome="done", upstream="a"):
    return Attempt(upstream=upstream, outcome=outcome, status=200, detail=None, duration_ms=1.5)


def decision(**fields):
    plain = {
        "id": f"dec_{uuid7(CLOCK).hex}",
        "request_id": "req_1",
        "user_id": "usr_1",
        "asked": "auto",
        "model": "one",
        "strategy": "adaptive",
        "candidates": (
            Candidate("a", "one", 1.0, 2, None),
            Candidate("b", "one", 1.0, 0, Excluded(Exclusion.UNHEALTHY, "it is gone")),
        ),
        "chosen": "a",
        "attempts": (attempt(),),
        "outcome": "done",
        "at": CLOCK.unix_s(),
        "estimate": Estimate(tokens_in=10, tokens_out=20, cost_usd=0.5, ttft_s=float("inf")),
    }
    return Decision(**{**plain, **fields})


@asynccontextmanager
async def opened(dsn, *, sample=1.0, rng=lambda: 0.5, keep_days=14):
    """A store without its worker, on a pool of its own."""
    live = Live(Config(routing=RoutingConfig(decisions=DecisionsConfig(sample=sample, keep_days=keep_days))))
    log = structlog.get_logger()
    async with PostgresPool.open(PostgresConfig(dsn=dsn, deadline_s=5), clock=CLOCK, log=log) as postgres:
        metrics = DecisionStoreMetrics(CollectorRegistry())
        store = DecisionStore(postgres, live, clock=CLOCK, log=log, metrics=metrics, rng=rng)
        store.live, store.postgres = live, postgres
        yield store


def count(counter):
    return counter._value.get()


async def stored(store):
    return [shown["id"] for shown in await store.find(limit=200)]


async def test_what_is_kept_is_what_was_shown(migrated_dsn):
    async with opened(migrated_dsn) as store:
        one = decision(attempts=(attempt("reset", "b"), attempt()))
        store.offer(one)
        await store.flush()
        assert await store.get(one.id) == one.shown()
        assert (await store.get(one.id))["estimate"]["ttft_s"] is None  # endless is no number of JSON's
        assert await store.get("dec_nobody") is None


async def test_all_that_did_not_end_well_at_once_is_kept_and_a_sample_of_the_rest(migrated_dsn):
    numbers = iter([0.05, 0.5, 0.0999])
    async with opened(migrated_dsn, sample=0.1, rng=lambda: next(numbers)) as store:
        odd = [decision(outcome="error"), decision(attempts=(attempt("reset"), attempt())), decision(attempts=())]
        plain = [decision() for _ in range(3)]
        for each in (*odd, *plain):
            store.offer(each)
        await store.flush()
        assert await stored(store) == [each.id for each in reversed([*odd, plain[0], plain[2]])]


async def test_the_sample_follows_the_configuration(migrated_dsn):
    async with opened(migrated_dsn, sample=0.0) as store:
        store.offer(decision())
        store.live.replace(Config(routing=RoutingConfig(decisions=DecisionsConfig(sample=1.0))))
        store.offer(later := decision())
        await store.flush()
        assert await stored(store) == [later.id]


async def test_found_by_user_model_upstream_and_outcome_and_page_by_page(migrated_dsn):
    async with opened(migrated_dsn) as store:
        mine = decision(user_id="usr_2")
        other_model = decision(model="two", asked="two")
        elsewhere = decision(attempts=(attempt("reset"), attempt(upstream="c")))
        failed = decision(outcome="error")
        everything = [mine, other_model, elsewhere, failed]
        for each in everything:
            store.offer(each)
        await store.flush()
        for wanted, found in (
            ({"user_id": "usr_2"}, [mine]),
            ({"model": "two"}, [other_model]),
            ({"model": "auto"}, [failed, elsewhere, mine]),
            ({"upstream": "c"}, [elsewhere]),
            ({"upstream": "a", "outcome": "error"}, [failed]),
            ({"outcome": "cancelled"}, []),
            ({"before": failed.id}, [elsewhere, other_model, mine]),
        ):
            assert [shown["id"] for shown in await store.find(limit=9, **wanted)] == [each.id for each in found]
        assert [shown["id"] for shown in await store.find(limit=1)] == [failed.id]


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        ({"user_id": "usr_2"}, "decisions_by_user"),
        ({"model": "two"}, "decisions_by_model"),
        ({"outcome": "error"}, "decisions_by_outcome"),
        ({"upstream": "c"}, "decisions_by_upstream"),
        ({}, "decisions_pkey"),
    ],
)
async def test_what_is_asked_for_is_found_by_an_index(migrated_dsn, wanted, index):
    async with opened(migrated_dsn) as store:
        terms = {
            "user_id": decision_store._OF_USER,
            "model": decision_store._OF_MODEL,
            "outcome": decision_store._ENDED,
            "upstream": decision_store._BY_UPSTREAM,
        }
        await store.postgres.execute(
            "INSERT INTO decisions SELECT 'dec_' || lpad(to_hex(n), 32, '0'), 'usr_1', 'one', 'auto', '{a,b}', 'done',"
            " '{}', now() FROM generate_series(1, 20000) n"
        )
        await store.postgres.execute("VACUUM ANALYZE decisions")
        query, *values = decision_store._query({terms[name]: value for name, value in wanted.items()}, 50)
        plan = await store.postgres.fetch(f"EXPLAIN {query}", *values)
        assert index in "\n".join(row[0] for row in plan)


async def test_the_same_offered_twice_is_stored_once_and_odd_texts_do_no_harm(migrated_dsn):
    async with opened(migrated_dsn) as store:
        odd = decision(
            attempts=(Attempt(upstream="a", outcome="status", status=500, detail="nul \0 !", duration_ms=1),)
        )
        store.keep(odd)
        store.keep(odd)
        await store.flush()
        assert (await store.get(odd.id))["attempts"][0]["detail"] == "nul \N{REPLACEMENT CHARACTER} !"
        assert len(await stored(store)) == 1


@pytest.mark.parametrize(
    ("bad", "event"),
    [
        ({"asked": "zero \0 byte"}, "decision refused by PostgreSQL"),
        ({"asked": "half \ud800 a letter"}, "decision cannot be put into words"),
        ({"at": "yesterday"}, "decision refused by PostgreSQL"),
        ({"attempts": (None,)}, "decision cannot be put into words"),
    ],
)
async def test_one_that_cannot_be_kept_is_counted_and_told_of_and_the_others_are_kept(migrated_dsn, bad, event):
    async with opened(migrated_dsn) as store:
        good = [decision() for _ in range(BATCH + 10)]
        for number, each in enumerate(good):
            if number in (0, 5, BATCH):
                store.keep(decision(**bad))
            store.keep(each)
        with structlog.testing.capture_logs() as said:
            await store.flush()
        assert [line["event"] for line in said if line["log_level"] == "error"] == [event] * 3
        assert (count(store._metrics.dropped), count(store._metrics.stored)) == (3, len(good))
        assert (await stored(store))[-1] == good[0].id
        assert len(await stored(store)) == len(good)
        assert (len(store._waiting), store._candidates) == (0, 0)


async def test_the_first_sweep_is_soon(migrated_dsn, monkeypatch):
    monkeypatch.setattr(decision_store, "FIRST_SWEEP_S", 0.01)
    async with opened(migrated_dsn) as store, asyncio.TaskGroup() as group:
        old = decision(id=f"dec_{1 << 80:032x}")
        store.keep(old)
        await store.flush()
        worker = group.create_task(store.run())
        async with asyncio.timeout(10):
            while await store.get(old.id) is not None:
                await asyncio.sleep(0.02)
        worker.cancel()


async def test_while_the_database_is_away_a_bounded_queue_waits_and_the_oldest_go(own_postgres):
    async with opened(own_postgres.dsn()) as store:
        await store.postgres.wait_until_up()
        await migrate(store.postgres)
        own_postgres.stop(signal.SIGINT)
        with pytest.raises(PostgresUnavailable):
            await store.postgres.fetchval("SELECT 1")
        many = [decision() for _ in range(MOST_WAITING + 5)]
        loop = asyncio.get_running_loop()
        began = loop.time()
        for each in many:
            store.offer(each)
        assert loop.time() - began < 1
        assert count(store._metrics.dropped) == 5
        with pytest.raises(PostgresUnavailable):
            await store.flush()
        assert len(store._waiting) == MOST_WAITING
        own_postgres.start()
        async with asyncio.timeout(30):
            await store.postgres.wait_until_up()
            await store.flush()
        assert await store.postgres.fetchval("SELECT count(*) FROM decisions") == MOST_WAITING
        assert await store.get(many[4].id) is None
        assert (await store.get(many[5].id))["id"] == many[5].id
        assert count(store._metrics.stored) == MOST_WAITING


async def test_a_cancelled_write_loses_nothing(migrated_dsn):
    async with opened(migrated_dsn) as store, asyncio.TaskGroup() as group:
        kept = [decision() for _ in range(BATCH + 3)]
        for each in kept:
            store.keep(each)
        for turns in range(6):
            task = group.create_task(store.flush())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task})
        await store.flush()
        assert await stored(store) == [each.id for each in reversed(kept)]


async def test_the_worker_carries_on_by_itself_and_the_end_of_the_store_what_is_left(migrated_dsn, monkeypatch):
    monkeypatch.setattr(decision_store, "GATHER_S", 0.01)
    log, registry = structlog.get_logger(), CollectorRegistry()
    async with PostgresPool.open(PostgresConfig(dsn=migrated_dsn), clock=CLOCK, log=log) as postgres:
        live = Live(Config())
        async with DecisionStore.open(postgres, live, clock=CLOCK, log=log, registry=registry) as store:
            async with asyncio.TaskGroup() as group:
                worker = group.create_task(store.run())
                store.keep(first := decision())
                async with asyncio.timeout(10):
                    while await store.get(first.id) is None:
                        await asyncio.sleep(0.02)
                worker.cancel()
            store.keep(last := decision())
        assert await store.get(last.id) is not None


async def test_what_is_older_than_keep_days_goes(migrated_dsn):
    class Earlier(Clock):
        def unix_s(self):
            return super().unix_s() - 15 * 86_400

    async with opened(migrated_dsn, keep_days=14) as store:
        ms = int(Earlier().unix_s() * 1000)
        old = decision(id=f"dec_{ms << 80:032x}")
        young = decision()
        for each in (old, young):
            store.keep(each)
        await store.flush()
        await store.sweep()
        assert await stored(store) == [young.id]


@pytest.fixture
def decisions():
    return Decisions(Hub(CLOCK), kept=4)


async def test_memory_keeps_so_many_and_follows_a_new_bound(decisions):
    made = [decision() for _ in range(6)]
    for each in made:
        decisions.add(each)
    assert [each.id for each in decisions.newest_first()] == [each.id for each in reversed(made[2:])]
    decisions.resize(2)
    assert [each.id for each in decisions.find(limit=9)] == [each.id for each in reversed(made[4:])]
    assert decisions.get(made[3].id) is None
    decisions.resize(3)
    decisions.add(made[0])
    assert len(decisions) == 3
    assert [each.id for each in decisions.find(limit=9)] == [made[5].id, made[4].id, made[0].id]  # by when they came


async def test_decisions_of_a_large_fleet_are_kept_for_a_shorter_time(decisions, migrated_dsn):
    many = (Candidate("a", "one", 1.0, 2, None),) * (MOST_CANDIDATES // 2)
    async with opened(migrated_dsn) as store:
        made = [decision(candidates=many) for _ in range(3)]
        for each in made:
            decisions.add(each)
            store.keep(each)
        assert [each.id for each in decisions.newest_first()] == [made[2].id, made[1].id]
        assert (len(store._waiting), count(store._metrics.dropped)) == (2, 1)
        alone = decision(candidates=many * 3)
        decisions.add(alone)
        assert [each.id for each in decisions.newest_first()] == [alone.id]


async def test_a_decision_is_put_into_words_when_it_is_read(decisions):
    hub = decisions._hub
    decisions.add(one := decision())
    with hub.subscribe([Topic.DECISIONS]) as feed:
        decisions.add(two := decision())
        assert (await anext(feed)).payload == two.shown()
    assert [message.payload for message in hub.last(Topic.DECISIONS, 2)] == [one.shown(), two.shown()]


async def test_memory_and_database_are_one_list_of_each_once(migrated_dsn, decisions):
    async with opened(migrated_dsn) as store:
        made = [decision(user_id=f"usr_{n % 2}") for n in range(9)]
        for n, each in enumerate(made):
            if n != 7:  # in memory alone
                store.keep(each)
            decisions.add(each)
        await store.flush()
        history = History(decisions, store)
        pages, before = [], None
        while page := (await history.find(Wanted(), limit=2, before=before)).decisions:
            pages += [shown["id"] for shown in page]
            before = page[-1]["id"]
        assert pages == [each.id for each in reversed(made)]
        mine = await history.find(Wanted(user_id="usr_1"), limit=9)
        assert mine.complete
        assert [shown["id"] for shown in mine.decisions] == [
            each.id for each in reversed(made) if each.user_id == "usr_1"
        ]
        assert await history.get(made[0].id, user_id="usr_0") == made[0].shown()
        assert await history.get(made[0].id, user_id="usr_1") is None
        assert await history.get(made[8].id, user_id="usr_1") is None
        assert await history.get("dec_'; --") is None
        history.keep(made[7].id)
        await store.flush()
        assert (await store.get(made[7].id))["id"] == made[7].id


async def test_memory_answers_alone_while_the_database_is_away(decisions):
    async with opened("postgresql://x@127.0.0.1:1/x") as store:
        decisions.add(one := decision())
        history = History(decisions, store)
        assert await history.find(Wanted(), limit=9) == Found([one.shown()], complete=False)
        assert await history.get(one.id) == one.shown()
        with pytest.raises(PostgresUnavailable):
            await history.get(decision().id)


async def test_the_last_word_of_a_user_counts_and_is_learned_again(migrated_dsn):
    async with opened(migrated_dsn) as pool:
        skills = LearnedSkills()
        feedback = FeedbackStore(pool.postgres, learn=skills)
        shown = {**decision().shown(), "features": {"tasks": {"code": 0.75, "chat": 0.25}}}
        first = await feedback.put(shown, user_id="usr_1", score=0.25, comment="meh")
        second = await feedback.put(shown, user_id="usr_1", score=1, comment=None)
        other = await feedback.put({**shown, "features": None}, user_id="usr_2", score=0)
        assert (first.replaced, second.replaced, other.replaced) == (False, True, False)
        assert skills.opinions("one", "code") == pytest.approx(0.75)  # one opinion, though it was changed
        again = LearnedSkills()
        await FeedbackStore(pool.postgres, learn=again).run()
        for task in ("code", "chat"):
            assert again.opinions("one", task) == pytest.approx(skills.opinions("one", task))
            assert again.skill(MODEL, task) == pytest.approx(skills.skill(MODEL, task))
        assert again.skill(MODEL, "code") > LearnedSkills().skill(MODEL, "code")


async def test_an_opinion_given_before_the_old_ones_are_learned_again_is_learned_once(migrated_dsn):
    async with opened(migrated_dsn) as pool:
        old, new = (decision().shown() for _ in range(2))
        await FeedbackStore(pool.postgres, learn=LearnedSkills()).put(old, user_id="usr_1", score=0)
        skills = LearnedSkills()
        feedback = FeedbackStore(pool.postgres, learn=skills)
        await feedback.put(new, user_id="usr_1", score=1)
        await feedback.put(old, user_id="usr_1", score=0.5)  # the first word on it is not learned yet
        changed = await feedback.put(old, user_id="usr_1", score=1)
        assert changed.replaced
        assert skills.opinions("one", "chat") == pytest.approx(2, rel=0.01)
        await feedback.run()
        assert skills.opinions("one", "chat") == pytest.approx(2, rel=0.01)
        everybody_is_pleased = (20 * 0.5 + 2) / 22
        assert skills.skill(MODEL, "chat") == pytest.approx(everybody_is_pleased, rel=0.01)
        await feedback.put(old, user_id="usr_1", score=0)
        assert skills.opinions("one", "chat") == pytest.approx(2, rel=0.01)


async def test_an_opinion_that_could_not_be_written_is_not_left_out_when_the_old_ones_are_learned(own_postgres):
    async with opened(own_postgres.dsn()) as pool:
        await pool.postgres.wait_until_up()
        await migrate(pool.postgres)
        shown = decision().shown()
        await FeedbackStore(pool.postgres, learn=LearnedSkills()).put(shown, user_id="usr_1", score=1)
        skills = LearnedSkills()
        feedback = FeedbackStore(pool.postgres, learn=skills)
        own_postgres.stop(signal.SIGINT)
        with pytest.raises(PostgresUnavailable):
            await feedback.put(shown, user_id="usr_1", score=0)
        own_postgres.start()
        async with asyncio.timeout(30):
            await feedback.run()
        assert skills.opinions("one", "chat") == 1
        assert skills.skill(MODEL, "chat") > 0.5


async def test_a_start_learns_of_each_user_the_latest_only(migrated_dsn, monkeypatch):
    monkeypatch.setattr(feedback_store, "REMEMBERED", 30)
    monkeypatch.setattr(feedback_store, "REMEMBERED_OF_ONE", 12)
    async with opened(migrated_dsn) as pool:
        feedback = FeedbackStore(pool.postgres, learn=LearnedSkills())
        for user, score in [("quiet", 1)] * 5 + [("loud", 1)] * 10 + [("loud", 0)] * 40:
            await feedback.put(decision().shown(), user_id=user, score=score)
        again = LearnedSkills()
        await FeedbackStore(pool.postgres, learn=again).run()
        assert again.opinions("one", "chat") == pytest.approx(15, abs=0.5)
        assert again.skill(MODEL, "chat") == pytest.approx((20 * 0.5 + 5) / 35, abs=0.02)


@pytest.mark.parametrize("outcome", ["error", "truncated", "cancelled", "denied"])
async def test_what_was_no_whole_answer_cannot_be_judged(migrated_dsn, outcome):
    async with opened(migrated_dsn) as pool:
        skills = LearnedSkills()
        with pytest.raises(RequestError, match="Only a whole answer") as refused:
            await FeedbackStore(pool.postgres, learn=skills).put(
                decision(outcome=outcome).shown(), user_id="usr_1", score=0
            )
        assert refused.value.code is Code.CONFLICT
        assert skills.opinions("one", "chat") == 0


@pytest.mark.parametrize(
    ("score", "comment", "param"),
    [(-0.01, None, "score"), (1.01, None, "score"), (float("nan"), None, "score"), (1, "x" * 2001, "comment")],
)
async def test_what_is_no_feedback_is_refused_by_name(migrated_dsn, score, comment, param):
    async with opened(migrated_dsn) as pool:
        with pytest.raises(RequestError) as refused:
            await FeedbackStore(pool.postgres, learn=LearnedSkills()).put(
                decision().shown(), user_id="u", score=score, comment=comment
            )
        assert (refused.value.code, refused.value.param) == (Code.INVALID_REQUEST, param)
        assert await pool.postgres.fetchval("SELECT count(*) FROM feedback") == 0


def test_a_decision_tells_each_attempt_why_it_was_made():
    hedge = Attempt(
        upstream="b", outcome="cancelled", status=None, detail=None, duration_ms=2, mark=Mark.HEDGE, model="two"
    )
    hedged = decision(attempts=(attempt(), hedge))
    told = [(each["mark"], each["model"]) for each in hedged.shown()["attempts"]]
    assert told == [("first", "one"), ("hedge", "two")]
    assert hedged.upstreams() == ("a", "b")
    assert not hedged.plain
    preview = decision(attempts=(), outcome="preview").explained()
    assert preview["candidates"][1]["excluded"] == {"code": "unhealthy", "reason": "it is gone"}
    assert "attempts" not in preview
