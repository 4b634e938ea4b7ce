"""Checks on behalf of users: granted, denied, settled, renewed, released, forgotten."""

import asyncio

from checks import DOOR, checking
from edges import MODEL

RESERVATION = "res_0000000000000000000000_" + 32 * "0"


def by_name(answer):
    return {one["name"]: one for one in answer["limits"]}


async def test_what_is_granted_is_taken_and_told(edge_with):
    limits = {"requests_per_minute": 60, "tokens_per_minute": 1000, "concurrent": 2, "usd_per_month": 5}
    async with checking(edge_with(options=()), **limits) as (checks, user):
        answer = await checks.check(user, model="others-model", tokens=400, endpoint="/v1/chat/completions")
        assert (answer["allowed"], answer["reason"], answer["retry_after_s"]) == (True, None, None)
        assert (answer["degraded"], answer["expires_in_s"]) == (False, 60)
        assert answer["reservation"].startswith("res_")
        left = {name: (one["limit"], one["remaining"], one["scope"]) for name, one in by_name(answer).items()}
        assert left == {
            "requests_per_minute": (60, 59, "user"),
            "tokens_per_minute": (1000, 600, "user"),
            "concurrent": (2, 1, "user"),
            "usd_per_month": (5.0, 5.0, "user"),
        }
        assert 0.9 < by_name(answer)["requests_per_minute"]["reset_s"] <= 1
        assert '"rpm";r=59;t=1' in checks.headers["RateLimit"]
        by_id = (await checks("/v1/check", {"user": user.id, "tokens": 100, "lease": False}))[1]
        assert (by_id["allowed"], by_name(by_id)["concurrent"]["remaining"]) == (True, 1)
        assert by_name(by_id)["tokens_per_minute"]["remaining"] < 600


async def test_a_denial_is_an_answer_and_stands_in_the_ledger(edge_with):
    async with checking(edge_with(options=()), requests_per_minute=1) as (checks, user):
        assert (await checks.check(user))["allowed"]
        denied = await checks.check(user, model="others-model", endpoint="/v1/embeddings")
        assert (denied["allowed"], denied["reservation"], denied["expires_in_s"]) == (False, None, None)
        assert denied["reason"] == "rate_limit_exceeded"
        assert 50 < denied["retry_after_s"] <= 60
        assert checks.headers["Retry-After"] == "60"
        status, answer = await checks("/v1/check?status=1", {"key": user.key})
        assert (status, answer["allowed"], checks.headers["Retry-After"]) == (429, False, "60")
        (row,) = await checks.served.rows()
        assert (row["outcome"], row["count"], row["user_id"]) == ("denied", 2, user.id)
        assert (row["tier"], row["model"], row["endpoint"]) == ("limited", "others-model", "/v1/embeddings")
        assert (row["listener"], row["key_id"]) == ("rate-limiting-api", user.key_id)


async def test_a_used_up_quota_has_its_own_reason(edge_with):
    async with checking(edge_with(options=()), tokens_per_day=100) as (checks, user):
        assert (await checks.check(user, tokens=90))["allowed"]
        denied = await checks.check(user, tokens=90)
        assert (denied["allowed"], denied["reason"]) == (False, "insufficient_quota")
        assert 0 < denied["retry_after_s"] <= 86_400


async def test_whoever_may_not_come_in_is_denied_without_a_word_of_the_key(edge_with):
    async with checking(edge_with(options=()), models=["small", MODEL]) as (checks, user):
        revoked, gone = await checks.user("grace", "limited"), await checks.user("alan", "limited")
        await checks.admin("DELETE", f"/v1/users/{revoked.id}/keys/{revoked.key_id}")
        await checks.admin("PATCH", f"/v1/users/{gone.id}", {"state": "suspended"})
        for asked, reason in (
            ({"key": "cit_test_nothing"}, "invalid_api_key"),
            ({"key": user.key[:-1] + ("a" if user.key[-1] != "a" else "b")}, "invalid_api_key"),
            ({"key": ""}, "invalid_api_key"),
            ({"key": revoked.key}, "invalid_api_key"),
            ({"key": gone.key}, "suspended"),
            ({"user": gone.id}, "suspended"),
            ({"key": user.key, "model": "large"}, "model_not_allowed"),
        ):
            status, answer = await checks("/v1/check", asked)
            assert (status, answer["allowed"], answer["reason"]) == (200, False, reason)
            assert (answer["reservation"], answer["limits"]) == (None, [])
        assert (await checks("/v1/check?status=1", {"key": "cit_test_nothing"}))[0] == 429
        assert (await checks.check(user, model="small"))["allowed"]
        assert await checks.served.rows() == []
        said = checks.served.log.getvalue()
        assert "cit_" not in said.replace("cit_[redacted]", "")
        assert user.key.split("_")[3] not in said


async def test_a_model_is_allowed_by_its_name_or_alias(edge_with):
    async with checking(edge_with(), models=[MODEL]) as (checks, user):
        for name in (MODEL, "sim-alias"):
            assert (await checks.check(user, model=name))["allowed"]
        assert (await checks.check(user, model="sim-aliases"))["reason"] == "model_not_allowed"


async def test_a_wrong_question_names_its_field_and_takes_nothing(edge_with):
    async with checking(edge_with(options=()), requests_per_minute=60) as (checks, user):
        for body, param in (
            ({}, "key"),
            ({"key": user.key, "user": user.id}, "key"),
            ({"key": user.key, "modle": "x"}, "modle"),
            ({"key": 7}, "key"),
            ({"key": 300 * "x"}, "key"),
            ({"key": user.key, "model": ""}, "model"),
            ({"key": user.key, "tokens": -1}, "tokens"),
            ({"key": user.key, "tokens": 10**18}, "tokens"),
            ({"key": user.key, "tokens": 10**400}, "tokens"),
            ({"key": user.key, "tokens": 1.5}, "tokens"),
            ({"key": user.key, "tokens": "10"}, "tokens"),
            ({"key": user.key, "tokens": True}, "tokens"),
            ({"key": user.key, "ttl_s": 0.5}, "ttl_s"),
            ({"key": user.key, "ttl_s": 3601}, "ttl_s"),
            ({"key": user.key, "lease": 1}, "lease"),
            ({"key": user.key, "endpoint": 513 * "/"}, "endpoint"),
            ([], None),
        ):
            status, problem = await checks("/v1/check", body)
            assert (status, problem["code"]) == (400, "invalid_request"), body
            assert problem.get("param") == param, body
            assert user.key not in str(problem)
            assert checks.headers["Content-Type"] == "application/problem+json"
        assert await checks.left(user, "requests_per_minute") == 59


async def test_more_tokens_than_the_limit_is_a_fault_and_an_unknown_user_is_404(edge_with):
    async with checking(edge_with(options=()), tokens_per_minute=100) as (checks, user):
        status, problem = await checks("/v1/check", {"key": user.key, "tokens": 101})
        assert (status, problem["code"], problem["param"]) == (400, "request_too_large", "tokens")
        assert "100 tokens per minute for this user" in problem["detail"]
        assert "Retry-After" not in checks.headers
        for unknown in ("usr_0000000000000000000000", "nobody", ""):
            status, problem = await checks("/v1/check", {"user": unknown})
            assert (status, problem["code"]) == (404, "not_found")


async def test_a_lease_is_held_until_it_is_settled_or_released(edge_with):
    async with checking(edge_with(options=()), concurrent=1) as (checks, user):
        first = await checks.check(user)
        assert (await checks.check(user))["reason"] == "rate_limit_exceeded"
        assert (await checks.check(user, lease=False))["allowed"]
        assert (await checks("/v1/release", {"reservation": first["reservation"]}))[0] == 200
        second = await checks.check(user)
        assert second["allowed"]
        settled = {"reservation": second["reservation"], "tokens_in": 1, "tokens_out": 1}
        assert (await checks("/v1/settle", settled))[0] == 200
        assert (await checks.check(user))["allowed"]


async def test_a_settlement_puts_the_charge_right_once_and_writes_one_row(edge_with):
    async with checking(edge_with(), tokens_per_day=10_000, usd_per_month=1) as (checks, user):
        checked = await checks.check(user, model="sim-alias", tokens=5000, endpoint="/v1/chat/completions")
        assert by_name(checked)["tokens_per_day"]["remaining"] == 5000
        assert by_name(checked)["usd_per_month"]["remaining"] == 0.99  # all of them at the dearer price
        settled = {"reservation": checked["reservation"], "tokens_in": 1000, "tokens_out": 500}
        status, answer = await checks("/v1/settle", settled)
        assert (status, answer) == (200, {**settled, "cost_usd": 0.002, "late": False})
        for path, body in (("settle", settled), ("renew", {"reservation": checked["reservation"]})):
            status, problem = await checks(f"/v1/{path}", body)
            assert (status, problem["code"]) == (404, "not_found")
        assert (await checks("/v1/release", {"reservation": checked["reservation"]}))[0] == 404
        assert await checks.left(user, "tokens_per_day") == 8500
        assert await checks.left(user, "usd_per_month") == 0.998
        (row,) = await checks.served.rows()
        assert (row["outcome"], row["tokens_in"], row["tokens_out"]) == ("done", 1000, 500)
        assert (float(row["cost_usd"]), row["model"], row["user_id"]) == (0.002, MODEL, user.id)
        assert (row["endpoint"], row["listener"]) == ("/v1/chat/completions", "rate-limiting-api")
        assert (row["tier"], row["key_id"], row["count"]) == ("limited", user.key_id, 1)


async def test_who_has_no_limits_is_accounted_for_too(edge_with):
    async with checking(edge_with(options=())) as (checks, _):
        free = await checks.user("grace", "unlimited")
        checked = await checks.check(free, tokens=10**9, model="others-model")
        assert (checked["allowed"], checked["limits"], checked["expires_in_s"]) == (True, [], 60)
        assert (await checks("/v1/settle", settled(checked, 3, 4)))[0] == 200
        assert (await checks("/v1/settle", settled(checked, 3, 4)))[0] == 404
        (row,) = await checks.served.rows()
        assert (row["user_id"], row["tokens_in"], row["tokens_out"]) == (free.id, 3, 4)
        usage = await checks.admin("GET", f"/v1/users/{free.id}/usage")
        assert (usage["totals"]["requests"], usage["totals"]["tokens_out"]) == (1, 4)


async def test_more_than_was_reserved_is_a_debt(edge_with):
    async with checking(edge_with(options=()), tokens_per_day=100) as (checks, user):
        checked = await checks.check(user, tokens=10)
        assert (await checks("/v1/settle", settled(checked, 150, 0)))[0] == 200
        denied = await checks.check(user, tokens=1)
        assert (denied["reason"], by_name(denied)["tokens_per_day"]["remaining"]) == ("insufficient_quota", 0)


async def test_a_release_gives_everything_back(edge_with):
    async with checking(edge_with(options=()), requests_per_minute=5, tokens_per_day=100) as (checks, user):
        checked = await checks.check(user, tokens=70)
        status, answer = await checks("/v1/release", {"reservation": checked["reservation"]})
        assert (status, answer) == (200, {"reservation": checked["reservation"], "late": False})
        assert await checks.left(user, "tokens_per_day") == 100
        assert await checks.left(user, "requests_per_minute") == 3  # what the two looks before this one took
        assert await checks.served.rows() == []


async def test_what_nobody_settles_keeps_its_charge_and_loses_its_lease(edge_with):
    async with checking(edge_with(options=()), concurrent=1, tokens_per_day=100) as (checks, user):
        checked = await checks.check(user, tokens=70, ttl_s=1)
        assert checked["expires_in_s"] == 1
        await asyncio.sleep(1.1)
        again = await checks.check(user, tokens=10, ttl_s=1)
        assert (again["allowed"], by_name(again)["tokens_per_day"]["remaining"]) == (True, 20)
        assert (await checks("/v1/renew", {"reservation": checked["reservation"]}))[0] == 404
        status, late = await checks("/v1/settle", settled(checked, 5, 5))
        assert (status, late["late"]) == (200, True)
        assert await checks.left(user, "tokens_per_day") == 80
        assert len(await checks.served.rows()) == 1


async def test_a_renewal_lets_it_live_and_says_what_stays(edge_with):
    async with checking(edge_with(options=()), concurrent=1, tokens_per_day=100) as (checks, user):
        checked = await checks.check(user, tokens=70, ttl_s=1)
        body = {"reservation": checked["reservation"], "ttl_s": 2, "tokens": 30}
        status, answer = await checks("/v1/renew", body)
        assert (status, answer) == (200, {"reservation": checked["reservation"], "expires_in_s": 2})
        await asyncio.sleep(1.1)
        assert (await checks.check(user))["reason"] == "rate_limit_exceeded"
        await asyncio.sleep(1.0)
        assert (await checks.check(user))["allowed"]
        assert await checks.left(user, "tokens_per_day") == 70


async def test_no_reservation_of_ours_is_400_and_an_unknown_one_404(edge_with):
    async with checking(edge_with(options=())) as (checks, _):
        for path, rest in (("settle", {"tokens_in": 1, "tokens_out": 1}), ("renew", {}), ("release", {})):
            for wrong in ("", "res_1", RESERVATION.upper(), RESERVATION + "0", 7, None):
                status, problem = await checks(f"/v1/{path}", {"reservation": wrong, **rest})
                assert (status, problem["code"], problem["param"]) == (400, "invalid_request", "reservation"), wrong
            status, problem = await checks(f"/v1/{path}", {"reservation": RESERVATION, **rest})
            assert (status, problem["code"]) == (404, "not_found")
            assert (await checks(f"/v1/{path}", {"reservation": RESERVATION, "more": 1, **rest}))[0] == 400
        for wrong in ({"tokens_in": -1, "tokens_out": 0}, {"tokens_in": 0, "tokens_out": 10**18}, {"tokens_in": 1}):
            assert (await checks("/v1/settle", {"reservation": RESERVATION, **wrong}))[0] == 400
        for wrong in ({"ttl_s": 0}, {"ttl_s": 4000}, {"tokens": -5}):
            assert (await checks("/v1/renew", {"reservation": RESERVATION, **wrong}))[0] == 400


async def test_only_services_ask(edge_with):
    async with checking(edge_with(options=())) as (checks, user):
        for path in ("check", "settle", "renew", "release"):
            assert (await checks(f"/v1/{path}", {}, bearer=user.bearer))[0] == 403
            assert (await checks(f"/v1/{path}", {}, bearer={}))[0] == 401
        assert (await checks("/v1/check", {"user": user.id}, bearer=checks.served.as_admin()))[0] == 200


async def test_a_settlement_is_carried_to_its_end_although_the_service_left(edge_with):
    async with checking(edge_with(options=()), tokens_per_day=100) as (checks, user):
        checked = await checks.check(user, tokens=70)
        async with asyncio.TaskGroup() as services:
            asked = services.create_task(checks("/v1/settle", settled(checked, 5, 5)))
            await asyncio.sleep(0.002)
            asked.cancel()
        async with asyncio.timeout(5):
            while await checks.left(user, "tokens_per_day") == 30:
                assert (await checks("/v1/settle", settled(checked, 5, 5)))[0] in (200, 404)
        assert await checks.left(user, "tokens_per_day") == 90
        assert len(await checks.served.rows()) == 1


async def test_the_document_describes_every_field(edge_with):
    async with checking(edge_with(options=())) as (checks, user):
        document = await checks.admin("GET", "/openapi.json")
        operations = {
            path: document["paths"][f"/v1/{path}"]["post"] for path in ("check", "settle", "renew", "release")
        }
        bodies = {path: body_of(each["requestBody"]) for path, each in operations.items()}
        assert bodies["check"]["properties"].keys() == set("key user model tokens endpoint ttl_s lease".split())
        assert bodies["settle"]["required"] == ["reservation", "tokens_in", "tokens_out"]
        assert {each["x-role"] for each in operations.values()} == {"service"}
        checked = await checks.check(user)
        assert body_of(operations["check"]["responses"]["200"])["required"] == list(checked)
        assert checks.served.doors[DOOR].url  # the document is this door's


def body_of(part):
    return part["content"]["application/json"]["schema"]


def settled(checked, tokens_in, tokens_out):
    return {"reservation": checked["reservation"], "tokens_in": tokens_in, "tokens_out": tokens_out}
