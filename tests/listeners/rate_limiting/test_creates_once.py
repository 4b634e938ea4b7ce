"""`Idempotency-Key` over HTTP: a create that is sent twice, or twice at once, makes one thing."""

import asyncio
from uuid import uuid4

from accounts_api import Api
from citadel_edge.config.shape import ListenerName


async def test_every_create_is_made_once_and_answered_again(edge_with):
    async with edge_with(options=()) as served:
        api = Api(served)
        user, _ = await api.user()
        own, key = f"/v1/users/{user['id']}", await first_key(api, user)
        for path, body in (
            ("/v1/users", {"name": "bob", "tier": "free"}),
            ("/v1/organisations", {"name": "acme"}),
            ("/v1/tiers", {"name": "gold", "concurrent": 1}),
            (f"{own}/quota/top-ups", {"tokens": 5, "reason": "sorry"}),
        ):
            first = await api("POST", path, body, Idempotency_Key=f"of {path}".replace(" ", "-"))
            assert first[0] == 201
            assert "Idempotency-Replayed" not in api.headers
            etag, before = api.headers["ETag"], await trail(api)
            assert await api("POST", path, body, Idempotency_Key=f"of {path}".replace(" ", "-")) == first
            assert (api.headers["ETag"], api.headers["Idempotency-Replayed"]) == (etag, "true")
            assert await trail(api) == before
        for path, body in ((f"{own}/keys", {"name": "k"}), (f"{own}/keys/{key}/rotate", {"overlap_s": 60})):
            status, made = await api("POST", path, body, Idempotency_Key="same")
            assert (status, made["key"][:4]) == (201, "cit_")
            status, again = await api("POST", path, body, Idempotency_Key="same")
            assert (status, again) == (201, {**made, "key": None})
            kept = await served.edge.postgres.fetch("SELECT to_jsonb(idempotency) AS row FROM idempotency")
            assert made["key"][-49:-6] not in str(kept), "no key is kept"


async def test_of_two_at_once_one_makes_it_and_both_are_answered(edge_with):
    async with edge_with(options=()) as served:
        apis = [Api(served) for _ in range(8)]
        for number in range(3):
            key, body = str(uuid4()), {"name": f"twin {number}", "tier": "free"}
            answers = await asyncio.gather(*(api("POST", "/v1/users", body, Idempotency_Key=key) for api in apis))
            assert {status for status, _ in answers} == {201}
            assert len({user["id"] for _, user in answers}) == 1
            assert sum("Idempotency-Replayed" in api.headers for api in apis) == 7


async def test_another_body_is_422_and_another_caller_or_path_another_create(edge_with):
    async with edge_with(options=()) as served:
        api = Api(served)
        _, other = await api.user("second", tier="unlimited", role="admin")
        await api("POST", "/v1/users", {"name": "ada", "tier": "free"}, Idempotency_Key="k")
        status, problem = await api("POST", "/v1/users", {"name": "bob", "tier": "free"}, Idempotency_Key="k")
        assert (status, problem["code"], problem["param"]) == (422, "idempotency_mismatch", "Idempotency-Key")
        assert (await other("POST", "/v1/users", {"name": "bob", "tier": "free"}, Idempotency_Key="k"))[0] == 201
        assert (await api("POST", "/v1/organisations", {"name": "acme"}, Idempotency_Key="k"))[0] == 201


async def test_a_create_that_was_refused_may_be_sent_again(edge_with):
    async with edge_with(options=()) as served:
        api, body = Api(served), {"name": "ada", "tier": "gold"}
        assert (await api("POST", "/v1/users", body, Idempotency_Key="k"))[0] == 400
        await api("POST", "/v1/tiers", {"name": "gold"})
        assert (await api("POST", "/v1/users", body, Idempotency_Key="k"))[0] == 201


async def test_a_header_that_is_no_key_is_refused_and_makes_nothing(edge_with):
    async with edge_with(options=()) as served:
        api = Api(served)
        for key in ("", " ", "a b", "x" * 256, "caf\u00e9"):
            status, problem = await api("POST", "/v1/users", {"name": "ada", "tier": "free"}, Idempotency_Key=key)
            assert (status, problem["param"]) == (400, "Idempotency-Key")
        twice = [("Idempotency-Key", "a"), ("Idempotency-Key", "b"), *served.as_admin().items()]
        url = served.url("/v1/users", ListenerName.RATE_LIMITING)
        async with served.client.post(url, json={"name": "ada", "tier": "free"}, headers=twice) as answer:
            assert answer.status == 400
        assert "ada" not in str((await api("GET", "/v1/users"))[1])


async def test_a_create_whose_client_left_is_answered_to_whoever_asks_again(edge_with):
    async with edge_with(options=()) as served:
        api, body = Api(served), {"name": "left", "tier": "free"}
        async with asyncio.TaskGroup() as clients, served.edge.postgres.transaction() as lock:
            await lock.execute("LOCK TABLE users IN EXCLUSIVE MODE")
            request = clients.create_task(api("POST", "/v1/users", body, Idempotency_Key="k"))
            await asyncio.sleep(0.3)
            request.cancel()
            await asyncio.sleep(0.1)
        status, user = await api("POST", "/v1/users", body, Idempotency_Key="k")
        assert (status, user["name"], api.headers["Idempotency-Replayed"]) == (201, "left", "true")
        assert str((await api("GET", "/v1/users"))[1]).count("'left'") == 1


async def first_key(api, user):
    _, keys = await api("GET", f"/v1/users/{user['id']}/keys")
    return keys["data"][0]["id"]


async def trail(api):
    return (await api("GET", "/v1/audit?limit=200"))[1]["data"]
