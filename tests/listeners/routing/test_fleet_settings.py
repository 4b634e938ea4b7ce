"""Weights, states and breakers by the API: who may, what is refused, and what is left after a restart."""

import asyncio
from contextlib import asynccontextmanager

from citadel_edge.config.shape import DeploymentConfig, ListenerName, ModelConfig
from citadel_edge.edge import open_edge
from citadel_edge.process.doors import bound_sockets, open_doors
from citadel_edge.process.workers import workers
from citadel_edge.simulator.options import SimulatorOptions
from citadel_edge.simulator.timing import Timing
from citadel_edge.telemetry.logs import Logs
from edges import MODEL, Served, config_for, serving
from servers import own_postgres

__all__ = ["own_postgres"]

TWO = (SimulatorOptions(), SimulatorOptions())
DRAINING = {"state": "draining"}
SLASHED = "org/model:7b"


class Api:
    """Calls of routing-api as somebody, answering status and body."""

    def __init__(self, served, headers=None):
        self._served = served
        self._headers = headers or served.as_admin()

    async def __call__(self, method, path, body=None, **headers):
        sent = {**self._headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        async with self._served.client.request(method, self._served.url(path), json=body, headers=sent) as answer:
            self.headers = answer.headers
            return answer.status, await answer.json(content_type=None)


async def ask(served, **fields):
    """One chat; the upstream that answered it."""
    url = served.url("/v1/chat/completions")
    async with served.client.post(url, json=served.chat(**fields), headers=served.as_user()) as answer:
        await answer.read()
        assert answer.status == 200
        return answer.headers["X-Citadel-Upstream"]


async def test_a_replica_is_shown_with_all_that_is_known_of_it(edge_with):
    async with edge_with() as served:
        api = Api(served)
        await ask(served)
        status, row = await api("GET", "/v1/upstreams/sim-0")
        assert status == 200
        known = {
            "id": "sim-0",
            "state": "active",
            "weight": None,
            "source": "config",
            "changed": None,
            "health": "healthy",
            "available": True,
            "warmth": 1.0,
            "in_flight": 0,
            "reserved_tokens": 0,
            "breaker": "closed",
            "error_rate": 0.0,
            "probe_failures": 0,
        }
        assert {name: row[name] for name in known} == known
        assert row["slots"] > 0
        assert row["deployments"] == [{"model": MODEL, "engine_model": MODEL, "weight": 1.0}]
        assert {"gauges", "estimates", "context_tokens", "cooling_s", "stalled_s", "detail"} <= row.keys()
        assert api.headers["ETag"] == '"0"'
        listed = (await api("GET", "/v1/upstreams"))[1]
        assert [each["id"] for each in listed["data"]] == ["sim-0"]
        assert "api_key" not in row


async def test_a_drained_replica_finishes_what_it_has_and_gets_nothing_new(edge_with):
    slow = SimulatorOptions(shortest=20, longest=20, timing=Timing(decode_ms=20))
    async with edge_with(options=(slow, slow)) as served, asyncio.TaskGroup() as clients:
        api = Api(served)
        running = [clients.create_task(ask(served)) for _ in range(4)]
        async with asyncio.timeout(10):
            while served.edge.fleet.table.rows["sim-0"].in_flight < 2:
                await asyncio.sleep(0.005)
        status, row = await api("PATCH", "/v1/upstreams/sim-0", DRAINING)
        assert (status, row["state"], row["source"], row["available"]) == (200, "draining", "api", False)
        assert row["in_flight"] == 2
        assert {await ask(served) for _ in range(4)} == {"sim-1"}
        assert sorted(await asyncio.gather(*running)) == ["sim-0", "sim-0", "sim-1", "sim-1"]
        assert (await api("GET", "/v1/upstreams/sim-0"))[1]["in_flight"] == 0


@asynccontextmanager
async def begun_anew(first, *, dsn, redis_url, data_dir):
    """An edge of the same configuration on the same databases, as after a restart."""
    data_dir.mkdir()
    config = config_for(first.simulators, dsn=dsn, redis_url=redis_url, data_dir=data_dir)
    async with bound_sockets(config, {}) as bound:
        with Logs.open(config.logs, stream=first.log) as logs:
            async with (
                open_edge(config, logs=logs, data_dir=data_dir) as edge,
                workers(edge),
                open_doors(edge, bound) as doors,
            ):
                yield Served(edge, doors, first.keys, first.simulators, first.client, first.log)


async def test_a_change_says_who_when_and_survives_a_restart(edge_with, migrated_dsn, redis_url, tmp_path):
    async with edge_with(options=TWO) as served:
        api = Api(served)
        status, row = await api("PATCH", "/v1/upstreams/sim-1", {"weight": 2.5, **DRAINING})
        assert (status, row["weight"], api.headers["ETag"]) == (200, 2.5, '"1"')
        assert row["changed"]["by"].startswith("usr_")
        assert row["deployments"][0]["weight"] == 2.5
        changed = row["changed"]
        status, breaker = await api("POST", "/v1/breakers/sim-0/trip", {"reason": "smoke"})
        assert (status, breaker["state"], breaker["held"], breaker["source"]) == (200, "open", True, "api")
        again = begun_anew(served, dsn=migrated_dsn, redis_url=redis_url, data_dir=tmp_path / "again")
        async with again as second:
            api = Api(second)
            row = (await api("GET", "/v1/upstreams/sim-1"))[1]
            assert (row["state"], row["weight"], row["source"], row["changed"]) == ("draining", 2.5, "api", changed)
            breaker = (await api("GET", "/v1/breakers/sim-0"))[1]
            assert (breaker["state"], breaker["source"], breaker["changed"]["reason"]) == ("open", "api", "smoke")
            assert breaker["retry_in_s"] is None


async def test_another_instance_follows_within_a_second(edge_with, migrated_dsn, redis_url, tmp_path):
    async with edge_with(options=TWO) as served:
        again = begun_anew(served, dsn=migrated_dsn, redis_url=redis_url, data_dir=tmp_path / "again")
        async with again as second:
            await asyncio.sleep(0.3)  # its subscriptions
            assert (await Api(served)("PATCH", "/v1/upstreams/sim-1", DRAINING))[0] == 200
            async with asyncio.timeout(1 * 5):  # the promise is a second; this machine is shared
                while second.edge.fleet.table.rows["sim-1"].state.value != "draining":
                    await asyncio.sleep(0.01)


async def test_null_gives_a_weight_back_to_the_configuration(edge_with):
    async with edge_with() as served:
        api = Api(served)
        await api("PATCH", "/v1/upstreams/sim-0", {"weight": 7})
        status, row = await api("PATCH", "/v1/upstreams/sim-0", {"weight": None})
        assert (status, row["weight"], row["source"]) == (200, None, "config")
        assert row["changed"]["version"] == 2


REFUSED = (
    ({"weight": 0}, "weight"),
    ({"weight": -1}, "weight"),
    ({"weight": "2"}, "weight"),
    ({"weight": True}, "weight"),
    ({"weight": 1e300}, "weight"),
    ({"state": "gone"}, "state"),
    ({"state": None}, "state"),
    ({"colour": "red"}, "colour"),
    ({"weight": 1, "slots": 4}, "slots"),
    ({}, None),
    ([], None),
)


async def test_what_cannot_be_set_is_refused_by_name(edge_with):
    async with edge_with() as served:
        for body, param in REFUSED:
            status, problem = await Api(served)("PATCH", "/v1/upstreams/sim-0", body)
            assert (status, problem["code"], problem.get("param")) == (400, "invalid_request", param), body
        assert served.edge.fleet.table.rows["sim-0"].source == "config"


async def test_a_stale_if_match_is_412_and_a_fresh_one_is_taken(edge_with):
    async with edge_with() as served:
        api = Api(served)
        await api("GET", "/v1/upstreams/sim-0")
        etag = api.headers["ETag"]
        assert (await api("PATCH", "/v1/upstreams/sim-0", {"weight": 2}, If_Match=etag))[0] == 200
        status, problem = await api("PATCH", "/v1/upstreams/sim-0", {"weight": 3}, If_Match=etag)
        assert (status, problem["code"]) == (412, "stale")
        assert (await api("POST", "/v1/breakers/sim-0/trip", {}, If_Match='"9"'))[0] == 412
        assert (await api("PATCH", "/v1/upstreams/sim-0", {"weight": 3}, If_Match='"1"'))[1]["weight"] == 3
        assert served.edge.fleet.table.rows["sim-0"].breaker.state.value == "closed"


async def test_only_admins_change_and_only_operators_read(edge_with):
    async with edge_with() as served:
        user = Api(served, served.as_user())
        for call in (
            ("GET", "/v1/upstreams"),
            ("GET", "/v1/breakers"),
            ("PATCH", "/v1/upstreams/sim-0", DRAINING),
            ("POST", "/v1/breakers/sim-0/trip", {}),
        ):
            status, problem = await user(*call)
            assert (status, problem["code"]) == (403, "forbidden")
        assert served.edge.fleet.table.rows["sim-0"].state.value == "active"


async def test_what_is_not_there_is_404(edge_with):
    async with edge_with() as served:
        api = Api(served)
        for call in (
            ("GET", "/v1/upstreams/nobody"),
            ("PATCH", "/v1/upstreams/nobody", DRAINING),
            ("GET", "/v1/breakers/nobody"),
            ("POST", "/v1/breakers/nobody/trip", {}),
            ("POST", "/v1/breakers/sim-0:nobody/reset", {}),
        ):
            status, problem = await api(*call)
            assert (status, problem["code"]) == (404, "not_found")


async def test_a_tripped_breaker_lets_nobody_through_until_it_is_reset(edge_with):
    async with edge_with(options=TWO) as served:
        api = Api(served)
        assert (await api("POST", "/v1/breakers/sim-0/trip"))[0] == 200  # without a body, too
        assert {await ask(served) for _ in range(4)} == {"sim-1"}
        status, breaker = await api("POST", "/v1/breakers/sim-0/reset", {"reason": None})
        assert (status, breaker["state"], breaker["held"], breaker["source"]) == (200, "closed", False, "api")
        async with asyncio.timeout(10):
            while await ask(served) != "sim-0":
                pass
        for wrong in ({"reason": 7}, {"why": "x"}, {"reason": "x" * 501}):
            assert (await api("POST", "/v1/breakers/sim-0/trip", wrong))[0] == 400


async def test_a_model_s_breaker_is_named_with_its_slashes_and_colons(edge_with):
    models = tuple(
        ModelConfig(name=name, deployments=(DeploymentConfig(upstream="sim-0", model=MODEL),))
        for name in (MODEL, SLASHED)
    )
    async with edge_with(changes={"models": models}) as served:
        api = Api(served)
        listed = (await api("GET", "/v1/breakers"))[1]["data"]
        assert [(each["id"], each["model"]) for each in listed] == [
            ("sim-0", None),
            (f"sim-0:{MODEL}", MODEL),
            (f"sim-0:{SLASHED}", SLASHED),
        ]
        for name in (f"sim-0:{SLASHED}", f"sim-0:{SLASHED}".replace("/", "%2F").replace(":", "%3A")):
            status, breaker = await api("POST", f"/v1/breakers/{name}/trip", {"reason": "leaks"})
            assert (status, breaker["id"], breaker["state"]) == (200, f"sim-0:{SLASHED}", "open")
        assert await ask(served) == "sim-0"  # the other model there is served on
        assert (await api("GET", f"/v1/breakers/sim-0:{SLASHED}"))[1]["changed"]["version"] == 2


async def test_every_change_stands_in_the_audit_trail(edge_with):
    async with edge_with() as served:
        await Api(served)("PATCH", "/v1/upstreams/sim-0", {"weight": 2}, X_Request_Id="fleet-1")
        url = served.url("/v1/audit?subject=sim-0", ListenerName.RATE_LIMITING)
        async with served.client.get(url, headers=served.as_admin()) as answer:
            (line,) = (await answer.json())["data"]
        assert (line["action"], line["request_id"], line["before"]) == ("patch_upstream", "fleet-1", None)
        assert line["after"]["weight"] == 2


async def test_a_change_is_carried_to_its_end_although_the_client_left(edge_with):
    async with edge_with() as served:
        api = Api(served)
        async with asyncio.TaskGroup() as clients, served.edge.postgres.transaction() as lock:
            await lock.execute("LOCK TABLE fleet_settings IN EXCLUSIVE MODE")
            request = clients.create_task(api("PATCH", "/v1/upstreams/sim-0", DRAINING))
            await asyncio.sleep(0.3)
            request.cancel()
            await asyncio.sleep(0.1)
            assert served.edge.fleet.table.rows["sim-0"].state.value == "active"
        async with asyncio.timeout(5):
            while served.edge.fleet.table.rows["sim-0"].state.value != "draining":
                await asyncio.sleep(0.02)


async def test_the_openapi_document_names_the_routes_and_their_parameters(edge_with):
    async with edge_with() as served:
        async with served.client.get(served.url("/openapi.json")) as answer:
            paths = (await answer.json())["paths"]
        assert {"get", "patch"} == paths["/v1/upstreams/{id}"].keys()
        trip = paths["/v1/breakers/{id}/trip"]["post"]
        assert (trip["x-role"], [each["name"] for each in trip["parameters"]]) == ("admin", ["id"])
        assert trip["responses"]["default"]["content"].keys() == {"application/problem+json"}
        for path in ("/v1/route", "/v1/decisions", "/v1/decisions/{id}", "/v1/feedback", "/v1/breakers"):
            assert path in paths
        assert not [path for path in paths if ":." in path]


async def test_a_database_that_is_away_is_503_and_changes_nothing(own_postgres, redis_url, tmp_path):
    async with serving(dsn=own_postgres.dsn(), redis_url=redis_url, data_dir=tmp_path) as served:
        api = Api(served)
        await api("GET", "/v1/upstreams")  # the key is known from here on
        own_postgres.stop()
        for call in (
            ("PATCH", "/v1/upstreams/sim-0", DRAINING),
            ("POST", "/v1/breakers/sim-0/trip", {}),
        ):
            status, problem = await api(*call)
            assert (status, problem["code"]) == (503, "accounts_unavailable")
            assert problem["retry_after_s"] > 0
        row = served.edge.fleet.table.rows["sim-0"]
        assert (row.state.value, row.breaker.held) == ("active", False)
        own_postgres.start()
