"""Users, keys, tiers, organisations and the audit trail over HTTP; and a key's end everywhere."""

import asyncio
import contextlib
from contextlib import asynccontextmanager
from datetime import timedelta

import aiohttp
import pytest

from accounts_api import Api
from citadel_edge.config.shape import ListenerName
from citadel_edge.edge import open_edge
from citadel_edge.process.doors import bound_sockets, open_doors
from citadel_edge.process.workers import workers
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.logs import Logs
from edges import config_for, serving

ACCOUNTS = ListenerName.RATE_LIMITING


async def models(served, key, door=None):
    url = f"{(door or served.doors[ListenerName.ROUTING]).url}/v1/models"
    async with served.client.get(url, headers={"Authorization": f"Bearer {key}"}) as answer:
        return answer.status


async def test_a_user_gets_a_key_that_works_until_it_is_revoked(edge_with):
    async with edge_with() as served:
        api = Api(served)
        status, user = await api("POST", "/v1/users", {"name": "ada", "tier": "free"})
        assert (status, user["role"], user["state"]) == (201, "user", "active")
        status, made = await api("POST", f"/v1/users/{user['id']}/keys", {"name": "laptop"})
        assert status == 201
        assert made["key"].startswith("cit_")
        assert await models(served, made["key"]) == 200
        _, listed = await api("GET", f"/v1/users/{user['id']}/keys")
        assert made["key"] not in str(listed)
        status, ended = await api("DELETE", f"/v1/users/{user['id']}/keys/{made['id']}")
        assert (status, ended["revoked_at"] is not None) == (200, True)
        assert await models(served, made["key"]) == 401


async def test_a_suspended_user_is_403_and_comes_back(edge_with):
    async with edge_with() as served:
        api = Api(served)
        _, user = await api("POST", "/v1/users", {"name": "ada", "tier": "free"})
        _, made = await api("POST", f"/v1/users/{user['id']}/keys", {})
        for state, status in (("suspended", 403), ("active", 200)):
            assert (await api("PATCH", f"/v1/users/{user['id']}", {"state": state}))[0] == 200
            assert await models(served, made["key"]) == status


async def test_a_rotated_key_goes_on_for_its_overlap(edge_with):
    async with edge_with() as served:
        api = Api(served)
        _, user = await api("POST", "/v1/users", {"name": "ada", "tier": "free"})
        _, old = await api("POST", f"/v1/users/{user['id']}/keys", {})
        _, new = await api("POST", f"/v1/users/{user['id']}/keys/{old['id']}/rotate", {"overlap_s": 60})
        assert (await models(served, old["key"]), await models(served, new["key"])) == (200, 200)
        _, last = await api("POST", f"/v1/users/{user['id']}/keys/{new['id']}/rotate", {})
        assert (await models(served, new["key"]), await models(served, last["key"])) == (401, 200)


async def test_a_revoked_key_ends_on_every_instance_within_a_second(edge_with, migrated_dsn, redis_url, tmp_path):
    async with edge_with() as first:
        api = Api(first)
        _, user = await api("POST", "/v1/users", {"name": "ada", "tier": "free"})
        _, made = await api("POST", f"/v1/users/{user['id']}/keys", {})
        (tmp_path / "second").mkdir()
        async with another_door(first, dsn=migrated_dsn, redis_url=redis_url, data_dir=tmp_path / "second") as second:
            assert await models(first, made["key"], second) == 200
            await api("DELETE", f"/v1/users/{user['id']}/keys/{made['id']}")
            async with asyncio.timeout(1):
                while await models(first, made["key"], second) != 401:
                    await asyncio.sleep(0.02)


async def test_a_revoked_key_s_running_stream_ends(edge_with):
    async with edge_with() as served:
        api = Api(served)
        _, user = await api("POST", "/v1/users", {"name": "ada", "tier": "free"})
        _, made = await api("POST", f"/v1/users/{user['id']}/keys", {})
        await served.simulators[0].fault("stall", after_tokens=2)
        headers = {"Authorization": f"Bearer {made['key']}"}
        url = served.url("/v1/chat/completions")
        async with served.client.post(url, json=served.chat(stream=True), headers=headers) as answer:
            await answer.content.readany()
            await api("DELETE", f"/v1/users/{user['id']}/keys/{made['id']}")
            rest = (await asyncio.wait_for(answer.read(), 5)).decode()
            assert '"code":"invalid_api_key"' in rest
            assert "[DONE]" not in rest
        await served.simulators[0].until(lambda stats: stats.cancelled == 1)
        (row,) = await served.rows()
        assert (row["outcome"], row["key_id"]) == ("cancelled", made["id"])


@pytest.mark.parametrize("how", ["demoted", "expired", "suspended"])
async def test_a_reader_of_live_state_is_ended_with_the_rights_to_it(edge_with, how):
    async with edge_with() as served:
        api = Api(served)
        _, user = await api("POST", "/v1/users", {"name": "ada", "tier": "free", "role": "operator"})
        expires = {"expires_at": (Clock().now() + timedelta(seconds=2)).isoformat()} if how == "expired" else {}
        _, made = await api("POST", f"/v1/users/{user['id']}/keys", expires)
        url = served.url("/v1/events?topics=usage", ListenerName.STREAMING)
        async with served.client.get(url, headers={"Authorization": f"Bearer {made['key']}"}) as answer:
            assert answer.status == 200
            change = {"demoted": {"role": "user"}, "suspended": {"state": "suspended"}}.get(how)
            if change:
                assert (await api("PATCH", f"/v1/users/{user['id']}", change))[0] == 200
            with contextlib.suppress(aiohttp.ClientError):
                await asyncio.wait_for(answer.read(), 10)


async def test_two_instances_at_once_make_credentials_once(migrated_dsn, redis_url, tmp_path):
    outcomes = []

    async def start(name):
        (tmp_path / name).mkdir()
        try:
            async with serving(dsn=migrated_dsn, redis_url=redis_url, data_dir=tmp_path / name, options=()):
                outcomes.append("made")
        except AssertionError:
            outcomes.append("found")

    await asyncio.gather(start("a"), start("b"))
    assert sorted(outcomes) == ["found", "made"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tier": "free"}, None),
        ({"name": "x", "tier": "no such"}, "tier"),
        ({"name": "x", "tier": "free", "rôle": "admin"}, "rôle"),
        ({"name": "x", "tier": "free", "role": "king"}, "role"),
        ({"name": 7, "tier": "free"}, "name"),
        ({"name": "x", "tier": "free", "organisation": "none"}, "organisation"),
        ([], None),
    ],
)
async def test_a_wrong_body_names_its_field_and_makes_nobody(edge_with, body, param):
    async with edge_with(options=()) as served:
        api = Api(served)
        status, problem = await api("POST", "/v1/users", body)
        assert (status, problem["code"], problem.get("param")) == (400, "invalid_request", param)
        assert len((await api("GET", "/v1/users"))[1]["data"]) == 2


async def test_a_stale_change_is_412_and_loses_nothing(edge_with):
    async with edge_with(options=()) as served:
        api = Api(served)
        await api("POST", "/v1/tiers", {"name": "pro"})
        _, user = await api("POST", "/v1/users", {"name": "ada", "tier": "free"})
        etag = api.headers["ETag"]
        assert (await api("PATCH", f"/v1/users/{user['id']}", {"tier": "pro"}, If_Match=etag))[0] == 200
        status, problem = await api("PATCH", f"/v1/users/{user['id']}", {"tier": "free"}, If_Match=etag)
        assert (status, problem["code"]) == (412, "stale")
        assert (await api("GET", f"/v1/users/{user['id']}"))[1]["tier"] == "pro"


async def test_names_are_taken_once_and_tiers_in_use_stay(edge_with):
    async with edge_with(options=()) as served:
        api = Api(served)
        await api("POST", "/v1/users", {"name": "ada", "tier": "free"})
        assert (await api("POST", "/v1/users", {"name": "ada", "tier": "free"}))[0] == 409
        assert (await api("DELETE", "/v1/tiers/free"))[0] == 409
        tier = {"name": "gold", "requests_per_minute": 9, "models": ["sim-model"]}
        assert (await api("POST", "/v1/tiers", tier))[1]["requests_per_minute"] == 9
        assert (await api("PATCH", "/v1/tiers/gold", {"requests_per_minute": None}))[1]["requests_per_minute"] is None
        assert (await api("PATCH", "/v1/tiers/gold", {"burst": 7}))[0] == 400
        assert (await api("DELETE", "/v1/tiers/gold"))[0] == 204
        assert (await api("GET", "/v1/tiers/gold"))[0] == 404


async def test_whoever_rotates_or_revokes_their_own_key_gets_the_answer(edge_with):
    async with edge_with(options=()) as served:
        api = Api(served)
        _, users = await api("GET", "/v1/users")
        admin = next(user["id"] for user in users["data"] if user["role"] == "admin")
        _, keys = await api("GET", f"/v1/users/{admin}/keys")
        status, made = await api("POST", f"/v1/users/{admin}/keys/{keys['data'][0]['id']}/rotate", {})
        assert status == 201
        assert (await api("GET", "/v1/users"))[0] == 401
        headers = {"Authorization": f"Bearer {made['key']}"}
        url = served.url(f"/v1/users/{admin}/keys/{made['id']}", ACCOUNTS)
        async with served.client.delete(url, headers=headers) as answer:
            assert answer.status == 200
        async with served.client.get(url, headers=headers) as answer:
            assert answer.status in (401, 405)


async def test_an_etag_of_no_version_is_stale(edge_with):
    async with edge_with(options=()) as served:
        api = Api(served)
        for etag in ("9" * 5000, '"x"', '"-1"'):
            assert (await api("PATCH", "/v1/tiers/free", {"burst": 0.1}, If_Match=etag))[0] == 412


async def test_the_last_admin_stays(edge_with):
    async with edge_with(options=()) as served:
        api = Api(served)
        _, users = await api("GET", "/v1/users")
        admin = next(user["id"] for user in users["data"] if user["role"] == "admin")
        for method, change in (("PATCH", {"role": "user"}), ("PATCH", {"state": "suspended"}), ("DELETE", None)):
            status, problem = await api(method, f"/v1/users/{admin}", change)
            assert (status, problem["code"]) == (409, "conflict")
        await api("POST", "/v1/users", {"name": "second", "tier": "unlimited", "role": "admin"})
        assert (await api("PATCH", f"/v1/users/{admin}", {"role": "operator"}))[0] == 200


async def test_lists_go_page_by_page(edge_with):
    async with edge_with(options=()) as served:
        api = Api(served)
        for n in range(5):
            await api("POST", "/v1/users", {"name": f"user-{n}", "tier": "free"})
        names, after = [], ""
        while after is not None:
            _, page = await api("GET", f"/v1/users?limit=3{f'&after={after}' if after else ''}")
            names += [user["name"] for user in page["data"]]
            after = page["next"]
        assert names == ["admin", "demo", *(f"user-{n}" for n in range(5))]
        for wrong in ("limit=0", "limit=999", "limit=x", "after=%21"):
            assert (await api("GET", f"/v1/users?{wrong}"))[0] == 400


async def test_every_change_stands_in_the_audit_trail_without_secrets(edge_with):
    async with edge_with(options=()) as served:
        api = Api(served)
        _, user = await api("POST", "/v1/users", {"name": "ada", "tier": "free"}, X_Request_Id="audited-1")
        _, made = await api("POST", f"/v1/users/{user['id']}/keys", {})
        _, trail = await api("GET", f"/v1/audit?subject={user['id']}")
        (line,) = trail["data"]
        assert (line["action"], line["request_id"], line["before"]) == ("create_user", "audited-1", None)
        assert line["after"]["name"] == "ada"
        _, whole = await api("GET", "/v1/audit?limit=200")
        assert made["key"] not in str(whole)
        assert "hash" not in str(whole)


async def test_a_change_is_carried_to_its_end_although_the_client_left(edge_with):
    async with edge_with(options=()) as served:
        api = Api(served)
        async with asyncio.TaskGroup() as clients, served.edge.postgres.transaction() as lock:
            await lock.execute("LOCK TABLE users IN EXCLUSIVE MODE")
            request = clients.create_task(api("POST", "/v1/users", {"name": "left", "tier": "free"}))
            await asyncio.sleep(0.3)
            request.cancel()
            await asyncio.sleep(0.1)
        async with asyncio.timeout(5):
            while "left" not in str((await api("GET", "/v1/users"))[1]):
                await asyncio.sleep(0.05)


@asynccontextmanager
async def another_door(first, *, dsn, redis_url, data_dir):
    """Routing-api of a second instance on the same databases."""
    config = config_for(first.simulators, dsn=dsn, redis_url=redis_url, data_dir=data_dir)
    async with bound_sockets(config, {}) as bound:
        with Logs.open(config.logs, stream=first.log) as logs:
            async with (
                open_edge(config, logs=logs, data_dir=data_dir) as edge,
                workers(edge),
                open_doors(edge, bound) as doors,
            ):
                await edge.postgres.wait_until_up()
                yield doors[ListenerName.ROUTING]
