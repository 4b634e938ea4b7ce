"""A user's quota over HTTP: what limits, who said so, overrides and top-ups."""

import asyncio

from accounts_api import Api
from citadel_edge.limits.claims import Claim
from citadel_edge.limits.plan import Who
from citadel_edge.limits.values import NANO, Spent


def limits(quota):
    """What limits by name and scope; each says what is left, whoever is not limited has nothing to be left."""
    for one in quota["limits"]:
        assert (one["limit"] is None) == (one["remaining"] is None) == (one["reset_s"] is None)
        assert one["remaining"] == one["limit"] or one["name"].endswith("_per_minute")
    return {(one["name"], one["scope"]): (one["limit"], one["source"]) for one in quota["limits"]}


async def test_each_limit_is_shown_with_who_set_it(edge_with):
    async with edge_with(options=()) as served:
        api = Api(served)
        tier = {
            "name": "gold",
            "requests_per_minute": 7,
            "tokens_per_day": 100,
            "by_model": {"big": {"tokens_per_day": 10}},
            "by_endpoint": {"/v1/embeddings": {"concurrent": 1}},
        }
        await api("POST", "/v1/tiers", tier)
        shared = {"usd_per_month": 12.5, "by_model": {"big": {"concurrent": 3}}}
        _, acme = await api("POST", "/v1/organisations", {"name": "acme", "limits": shared, "time_zone": "Asia/Tokyo"})
        user, _ = await api.user(tier="gold", organisation="acme")
        own = f"/v1/users/{user['id']}/quota"
        overrides = {"tokens_per_day": None, "concurrent": 0, "by_model": {"big": {"concurrent": 2}}}
        status, quota = await api("PATCH", own, {"overrides": overrides})
        assert status == 200
        assert limits(quota) == {
            ("requests_per_minute", "user"): (7, "tier"),
            ("tokens_per_minute", "user"): (None, "tier"),
            ("concurrent", "user"): (0, "override"),
            ("tokens_per_day", "user"): (None, "override"),
            ("tokens_per_month", "user"): (None, "tier"),
            ("usd_per_month", "user"): (None, "tier"),
            ("tokens_per_day", "user model big"): (10, "tier"),
            ("concurrent", "user model big"): (2, "override"),
            ("concurrent", "user endpoint /v1/embeddings"): (1, "tier"),
            ("usd_per_month", "organisation"): (12.5, "organisation"),
            ("concurrent", "organisation model big"): (3, "organisation"),
        }
        assert (quota["overrides"], quota["tier"], quota["time_zone"]) == (overrides, "gold", "Asia/Tokyo")
        assert (quota["organisation_id"], quota["version"]) == (acme["id"], 1)
        again = (await api("GET", own))[1]
        assert limits(again) == limits(quota)
        assert {**again, "limits": ()} == {**quota, "limits": ()}
        assert (await api("GET", f"/v1/organisations/{acme['id']}"))[1]["limits"] == shared


async def test_what_is_left_is_shown_as_requests_take_it(edge_with):
    async with edge_with(options=()) as served:
        api = Api(served)
        await api(
            "POST", "/v1/tiers", {"name": "gold", "requests_per_minute": 60, "burst": 1.0, "tokens_per_day": 1000}
        )
        shared = {"usd_per_month": 5, "by_model": {"sim-model": {"tokens_per_month": 5000}}}
        await api("POST", "/v1/organisations", {"name": "acme", "limits": shared})
        user, mine = await api.user(tier="gold", organisation="acme")
        await api("POST", f"/v1/users/{user['id']}/quota/top-ups", {"tokens": 500, "reason": "x"})

        async def left():
            quota = (await mine("GET", "/v1/users/me/quota"))[1]
            assert quota["degraded"] is False
            return {
                (one["name"], one["scope"]): one["remaining"] for one in quota["limits"] if one["limit"] is not None
            }

        assert await left() == {
            ("requests_per_minute", "user"): 60,
            ("tokens_per_day", "user"): 1500,
            ("usd_per_month", "organisation"): 5,
            ("tokens_per_month", "organisation model sim-model"): 5000,
        }
        principal = await served.edge.directory.entitled(user["id"])
        who = Who(
            organisation_id=principal.organisation_id,
            user_id=principal.user_id,
            entitlement=principal.entitlement,
            model="sim-model",
        )
        taken = await served.edge.limiter.reserve(Claim(who=who, cost=Spent(20, 1100, 2 * NANO)))
        assert taken.allowed
        now = await left()
        assert 40 <= now.pop(("requests_per_minute", "user")) <= 42
        assert now == {
            ("tokens_per_day", "user"): 400,
            ("usd_per_month", "organisation"): 3,
            ("tokens_per_month", "organisation model sim-model"): 3900,
        }
        served.edge.limiter.release(taken.reservation)
        async with asyncio.timeout(5):
            while (await left())[("tokens_per_day", "user")] != 1500:
                await asyncio.sleep(0.02)


async def test_a_user_reads_the_own_quota_and_nobody_else_s(edge_with):
    async with edge_with(options=()) as served:
        api = Api(served)
        user, mine = await api.user()
        other, _ = await api.user("bob")
        _, reader = await api.user("olga", role="operator")
        _, service = await api.user("sid", role="service")
        for path in ("", "/quota", "/quota/top-ups", "/usage"):
            (status, me), (_, named) = [await mine("GET", f"/v1/users/{name}{path}") for name in ("me", user["id"])]
            assert (status, {**me, "limits": ()}) == (200, {**named, "limits": ()})
            assert (await reader("GET", f"/v1/users/{user['id']}{path}"))[0] == 200
            for stranger in (other["id"], "usr_nobody", "you"):
                for one in (mine, service):
                    status, problem = await one("GET", f"/v1/users/{stranger}{path}")
                    assert (status, problem["detail"]) == (404, "There is no such user.")
        assert (await mine("GET", "/v1/users/me"))[1] == user
        own = f"/v1/users/{user['id']}"
        for method, path, body in (
            ("PATCH", f"{own}/quota", {"overrides": {}}),
            ("POST", f"{own}/quota/top-ups", {"tokens": 1, "reason": "me"}),
            ("DELETE", f"{own}/quota/top-ups/top_1", None),
            ("GET", "/v1/users", None),
            ("GET", f"/v1/organisations/{user['organisation_id']}/usage", None),
        ):
            assert (await mine(method, path, body))[0] == 403


async def test_a_stale_etag_changes_nothing(edge_with):
    async with edge_with(options=()) as served:
        api = Api(served)
        user, _ = await api.user()
        own = f"/v1/users/{user['id']}/quota"
        await api("GET", own)
        etag = api.headers["ETag"]
        assert (await api("PATCH", own, {"overrides": {"concurrent": 1}}, If_Match=etag))[0] == 200
        assert (await api("PATCH", own, {"overrides": {"concurrent": 9}}, If_Match=etag))[0] == 412
        apis = [Api(served) for _ in range(6)]
        answers = await asyncio.gather(
            *(
                one("PATCH", own, {"overrides": {"concurrent": n}}, If_Match='"1"')
                for n, one in enumerate(apis, start=2)
            )
        )
        assert sorted(status for status, _ in answers) == [200] + [412] * 5
        assert (await api("GET", own))[1]["version"] == 2


WRONG = (
    ({}, None),
    ({"overrides": None}, "overrides"),
    ({"overrides": [1]}, "overrides"),
    ({"overrides": {}, "other": 1}, "other"),
    ({"overrides": {"tokens_per_dya": 1}}, "overrides.tokens_per_dya"),
    ({"overrides": {"tokens_per_day": "5"}}, "overrides.tokens_per_day"),
    ({"overrides": {"tokens_per_day": -1}}, "overrides.tokens_per_day"),
    ({"overrides": {"tokens_per_day": 1.0}}, "overrides.tokens_per_day"),
    ({"overrides": {"tokens_per_day": True}}, "overrides.tokens_per_day"),
    ({"overrides": {"tokens_per_day": 10**10 + 1}}, "overrides.tokens_per_day"),
    ({"overrides": {"tokens_per_day": 10**60}}, "overrides.tokens_per_day"),
    ({"overrides": {"usd_per_month": 4_000_000.01}}, "overrides.usd_per_month"),
    ({"overrides": {"by_model": {"m": {"by_model": {}}}}}, "overrides.by_model.m.by_model"),
    ({"overrides": {"by_model": {" ": {}}}}, "overrides.by_model"),
    ({"overrides": {"by_endpoint": {"v1": {}}}}, "overrides.by_endpoint"),
    ({"overrides": {"burst": 0.1}}, "overrides.burst"),
    ([], None),
    (5, None),
)


async def test_wrong_overrides_name_their_field_and_change_nothing(edge_with):
    async with edge_with(options=()) as served:
        api = Api(served)
        user, _ = await api.user()
        own = f"/v1/users/{user['id']}/quota"
        for body, param in WRONG:
            status, problem = await api("PATCH", own, body)
            assert (status, problem["code"], problem.get("param")) == (400, "invalid_request", param), body
        json = {"Content-Type": "application/json"}
        for text in ('{"overrides": {"concurrent": 1e999}}', '{"overrides": {"usd_per_month": NaN}}', '{"overrides'):
            async with api.asked("PATCH", own, data=text, headers=json) as answer:
                assert answer.status == 400
        assert (await api("GET", own))[1]["version"] == 0
        assert (await api("PATCH", "/v1/users/usr_x/quota", {"overrides": {}}))[0] == 404


async def test_limits_past_their_bounds_are_refused_everywhere_with_the_same_sentence(edge_with):
    async with edge_with(options=()) as served:
        api = Api(served)
        user, _ = await api.user()
        said = set()
        for method, path, body in (
            ("POST", "/v1/tiers", {"name": "gold", "concurrent": 10**11}),
            ("PATCH", "/v1/tiers/free", {"concurrent": 10**11}),
            ("POST", "/v1/organisations", {"name": "acme", "limits": {"concurrent": 10**11}}),
            ("PATCH", f"/v1/organisations/{user['organisation_id']}", {"limits": {"concurrent": 10**11}}),
            ("PATCH", f"/v1/users/{user['id']}/quota", {"overrides": {"concurrent": 10**11}}),
        ):
            status, problem = await api(method, path, body)
            assert (status, problem["param"].rpartition(".")[2]) == (400, "concurrent")
            said.add(problem["detail"])
        assert said == {"Expected a whole number from 0 to 10000000000, got 100000000000."}


async def test_a_top_up_is_given_shown_and_taken_back(edge_with):
    async with edge_with(options=()) as served:
        api = Api(served)
        user, mine = await api.user()
        own = f"/v1/users/{user['id']}/quota"
        new = {"usd": 2.5, "reason": "sorry", "expires_at": "2999-01-01T00:00:00+01:00"}
        status, given = await api("POST", f"{own}/top-ups", new)
        assert (status, given["usd"], given["tokens"], given["expires_at"]) == (201, 2.5, None, "2998-12-31T23:00:00Z")
        assert api.headers["ETag"] == '"1"'
        assert (await mine("GET", "/v1/users/me/quota"))[1]["top_ups"] == [given]
        assert (await mine("GET", "/v1/users/me/quota/top-ups"))[1]["data"] == [given]
        assert (await api("DELETE", f"{own}/top-ups/{given['id']}", If_Match='"2"'))[0] == 412
        assert (await api("DELETE", f"{own}/top-ups/{given['id']}", If_Match='"1"'))[0] == 204
        assert (await api("DELETE", f"{own}/top-ups/{given['id']}"))[0] == 404
        assert (await api("GET", own))[1]["top_ups"] == []
        for body, param in (
            ({"reason": "x"}, "usd"),
            ({"tokens": 1, "usd": 1, "reason": "x"}, "tokens"),
            ({"tokens": 1}, None),
            ({"tokens": "1", "reason": "x"}, "tokens"),
            ({"tokens": 1, "reason": ""}, "reason"),
            ({"tokens": 1, "reason": "x", "expires_at": "soon"}, "expires_at"),
            ({"tokens": 1, "reason": "x", "expires_at": "9999-12-31T23:59:59-14:00"}, "expires_at"),
            ({"tokens": 1, "reason": "x", "by": "me"}, "by"),
        ):
            status, problem = await api("POST", f"{own}/top-ups", body)
            assert (status, problem.get("param")) == (400, param), body
        assert (await api("POST", "/v1/users/usr_x/quota/top-ups", {"tokens": 1, "reason": "x"}))[0] == 404


async def test_a_suspended_user_s_quota_is_still_read_by_operators(edge_with):
    async with edge_with(options=()) as served:
        api = Api(served)
        user, _ = await api.user()
        await api("PATCH", f"/v1/users/{user['id']}", {"state": "suspended"})
        assert (await api("GET", f"/v1/users/{user['id']}/quota"))[0] == 200
        assert (await api("GET", f"/v1/users/{user['id']}/usage"))[0] == 200


async def test_a_change_of_overrides_is_carried_to_its_end_although_the_client_left(edge_with):
    async with edge_with(options=()) as served:
        api = Api(served)
        user, _ = await api.user()
        own = f"/v1/users/{user['id']}/quota"
        async with asyncio.TaskGroup() as clients, served.edge.postgres.transaction() as lock:
            await lock.execute("LOCK TABLE quotas IN EXCLUSIVE MODE")
            request = clients.create_task(api("PATCH", own, {"overrides": {"concurrent": 4}}))
            await asyncio.sleep(0.3)
            request.cancel()
            await asyncio.sleep(0.1)
        async with asyncio.timeout(5):
            while (await api("GET", own))[1]["version"] == 0:
                await asyncio.sleep(0.05)
        assert (await api("GET", own))[1]["overrides"] == {"concurrent": 4}
