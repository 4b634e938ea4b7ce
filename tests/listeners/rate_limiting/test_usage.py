"""Usage over HTTP: as JSON page by page and as CSV at once, in the organisation's days."""

import asyncio
import csv
import io
import signal
from datetime import datetime
from decimal import Decimal

import pytest

from accounts_api import Api, used
from citadel_edge.accounts.ledger.event import Outcome
from edges import serving
from servers import running_postgres

OCTOBER = "from=2026-10-25&to=2026-10-27"


async def berliner(api):
    await api("POST", "/v1/organisations", {"name": "acme", "time_zone": "Europe/Berlin"})
    return await api.user(organisation="acme")


async def test_usage_is_summed_by_day_model_and_key_in_the_organisation_s_zone(edge_with):
    async with edge_with(options=()) as served:
        api = Api(served)
        user, mine = await berliner(api)
        await used(
            served,
            user,
            {"at": "2026-10-24T21:59:59+00:00"},
            {"at": "2026-10-24T22:00:00+00:00", "model": "a"},
            {"at": "2026-10-25T22:59:00+00:00", "model": "a", "outcome": Outcome.ERROR},
            {"at": "2026-10-25T23:00:00+00:00", "model": "b", "key_id": "key_2"},
        )
        status, usage = await mine("GET", f"/v1/users/me/usage?{OCTOBER}&by=day,model,key")
        assert status == 200
        sums = {"tokens_in": 20, "tokens_out": 2, "cost_usd": 1.0, "denied": 0}
        half = {"requests": 1, "tokens_in": 10, "tokens_out": 1, "cost_usd": 0.5, "errors": 0, "denied": 0}
        assert usage["data"] == [
            {"day": "2026-10-25", "model": "a", "key_id": "key_1", "requests": 2, "errors": 1, **sums},
            {"day": "2026-10-26", "model": "b", "key_id": "key_2", **half},
        ]
        totals = {"requests": 3, "tokens_in": 30, "tokens_out": 3, "cost_usd": 1.5, "errors": 1, "denied": 0}
        assert (usage["totals"], usage["next"], usage["time_zone"]) == (totals, None, "Europe/Berlin")
        assert (usage["from"], usage["to"]) == ("2026-10-25T00:00:00+02:00", "2026-10-27T00:00:00+01:00")
        assert (usage["user_id"], usage["by"]) == (user["id"], ["day", "model", "key_id"])


async def test_without_ends_it_is_the_last_30_days(edge_with):
    async with edge_with(options=()) as served:
        api = Api(served)
        user, mine = await berliner(api)
        now = served.edge.clock.now()
        await used(served, user, {"at": now.isoformat()})
        _, usage = await mine("GET", "/v1/users/me/usage")
        assert (usage["data"], usage["by"], usage["totals"]["requests"]) == ([], [], 1)
        since, until = (datetime.fromisoformat(usage[end]) for end in ("from", "to"))
        assert (until.replace(tzinfo=None) - since.replace(tzinfo=None)).days == 30
        assert since < now < until


async def test_rows_come_in_pages_with_the_totals_of_all(edge_with):
    async with edge_with(options=()) as served:
        api = Api(served)
        user, mine = await berliner(api)
        await used(served, user, *({"at": f"2026-10-{25 + n % 2}T12:00:00+00:00", "model": f"m{n}"} for n in range(7)))
        rows, after = [], ""
        while after is not None:
            _, page = await mine(
                "GET", f"/v1/users/me/usage?{OCTOBER}&by=model,day&limit=3&after={after}".rstrip("=&after")
            )
            assert page["totals"]["requests"] == 7
            rows += page["data"]
            after = page["next"]
        assert [row["model"] for row in rows] == [f"m{n}" for n in range(7)]


async def test_operators_read_an_organisation_s_usage_by_user(edge_with):
    async with edge_with(options=()) as served:
        api = Api(served)
        ada, _ = await berliner(api)
        bob, _ = await api.user("bob", organisation="acme")
        await used(served, ada, {"at": "2026-10-25T12:00:00+00:00"}, {"at": "2026-10-26T12:00:00+00:00"})
        await used(served, bob, {"at": "2026-10-25T12:00:00+00:00"})
        own = f"/v1/organisations/{ada['organisation_id']}/usage?{OCTOBER}"
        _, usage = await api("GET", f"{own}&by=user")
        assert {row["user_id"]: row["requests"] for row in usage["data"]} == {ada["id"]: 2, bob["id"]: 1}
        assert usage["organisation_id"] == ada["organisation_id"]
        await api("DELETE", f"/v1/users/{bob['id']}")
        assert (await api("GET", f"{own}&by=user"))[1] == usage, "usage outlives the user"
        assert (await api("GET", "/v1/organisations/org_x/usage"))[0] == 404
        assert (await api("GET", f"/v1/users/{ada['id']}/usage?by=user"))[0] == 400


async def test_csv_has_every_row_exactly_and_no_formula(edge_with):
    async with edge_with(options=()) as served:
        api = Api(served)
        user, mine = await berliner(api)
        names = ["=HYPERLINK(1)", "+1", "-1", "@x", 'a,"b"', "line\nbreak", "plain", "\tx"]
        cost = Decimal("0.000000000001")
        await used(served, user, *({"at": "2026-10-25T12:00:00+00:00", "model": m, "cost_usd": cost} for m in names))
        path = f"/v1/users/me/usage?{OCTOBER}&by=model"
        status, text = await mine.text(f"{path}&format=csv&limit=1")
        assert status == 200
        assert mine.headers["Content-Type"].startswith("text/csv")
        assert mine.headers["Content-Disposition"] == f'attachment; filename="usage-{user["id"]}.csv"'
        head, *rows = csv.reader(io.StringIO(text, newline=""))
        assert head == ["model", "requests", "tokens_in", "tokens_out", "cost_usd", "errors", "denied"]
        safe = {f"'{name}" if name[0] in "=+-@\t" else name for name in names}
        assert {row[0] for row in rows} == safe
        assert {tuple(row[1:]) for row in rows} == {("1", "10", "1", "0.000000000001", "0", "0")}
        assert (await mine.text(path, Accept="text/csv"))[1] == text
        assert (await mine.text(path, Accept="*/*"))[1].startswith("{")
        assert (await mine.text(f"{path}&format=json", Accept="text/csv"))[1].startswith("{")


async def test_csv_of_many_days_is_whole(edge_with):
    async with edge_with(options=()) as served:
        api = Api(served)
        user, mine = await berliner(api)
        await used(
            served, user, *({"at": f"2026-{1 + n % 10:02}-15T12:00:00+00:00", "model": f"m{n}"} for n in range(50))
        )
        _, text = await mine.text("/v1/users/me/usage?from=2026-01-01&to=2026-11-01&by=day,model&format=csv")
        lines = text.splitlines()
        assert len(lines) == 51
        assert lines[1:] == sorted(lines[1:])


async def test_clients_that_leave_in_the_middle_keep_nobody_waiting(edge_with):
    async with edge_with(options=()) as served:
        api = Api(served)
        user, mine = await berliner(api)
        await used(
            served, user, *({"at": f"2026-10-25T{n % 24:02}:00:00+00:00", "model": f"m{n}"} for n in range(3000))
        )
        path = f"/v1/users/me/usage?{OCTOBER}&by=day,model&format=csv"
        whole = (await mine.text(path))[1]
        assert whole.count("\n") == 3001

        async def leave(n):
            async with mine.asked("GET", path) as answer:
                await answer.content.read(n)
                answer.close()

        await asyncio.gather(*(leave(n) for n in range(12)), *(mine("GET", "/v1/users/me/usage") for _ in range(12)))
        assert (await mine.text(path))[1] == whole


WRONG = (
    ("from=x", "from"),
    ("from=2026-10-02&to=2026-10-01", "from"),
    ("from=2020-01-01", "from"),
    ("to=9999-12-31", "to"),
    ("by=day,day", "by"),
    ("by=colour", "by"),
    ("format=xml", "format"),
    ("limit=0", "limit"),
    ("limit=1.5", "limit"),
    ("by=day&after=AAAA", "after"),
    ("by=day&after=%21", "after"),
    ("after=WyJhIl0", "after"),
)


async def test_a_question_that_cannot_be_names_its_part(edge_with):
    async with edge_with(options=()) as served:
        for query, param in WRONG:
            status, problem = await Api(served)("GET", f"/v1/users/me/usage?{query}")
            assert (status, problem["param"]) == (400, param), query


@pytest.fixture
def own_postgres():
    with running_postgres() as server:
        yield server


async def test_without_postgresql_it_is_503_and_comes_back(own_postgres, redis_url, tmp_path):
    async with serving(dsn=own_postgres.dsn(), redis_url=redis_url, data_dir=tmp_path, options=()) as served:
        api = Api(served)
        user, mine = await api.user()
        own = f"/v1/users/{user['id']}/quota"
        assert (await mine("GET", "/v1/users/me/usage"))[0] == 200
        await asyncio.to_thread(own_postgres.stop, signal.SIGINT)
        for method, path, body in (
            ("GET", f"/v1/users/{user['id']}/usage", None),
            ("GET", f"/v1/users/{user['id']}/usage?by=day&format=csv", None),
            ("GET", own, None),
            ("PATCH", own, {"overrides": {"concurrent": 1}}),
            ("POST", f"{own}/top-ups", {"tokens": 1, "reason": "x"}),
        ):
            status, problem = await api(method, path, body, **({"Idempotency_Key": "k"} if method == "POST" else {}))
            assert (status, problem["code"]) == (503, "accounts_unavailable")
            assert api.headers["Retry-After"] == "1"
        await asyncio.to_thread(own_postgres.start)
        await served.edge.postgres.wait_until_up()
        assert (await api("POST", f"{own}/top-ups", {"tokens": 1, "reason": "x"}, Idempotency_Key="k"))[0] == 201
        assert len((await api("GET", own))[1]["top_ups"]) == 1
