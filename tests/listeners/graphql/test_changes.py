"""Mutations of accounts, fleet and configuration: what they change, and what they tell instead."""

from citadel_edge.listeners.graphql.resolvers.ids import global_id
from graphs import graph_over

TIER = (
    "tier { id name requestsPerMinute tokensPerMinute usdPerMonth burst priority models version"
    " byModel { model limits { tokensPerDay } } onRedisDown { requests spend } }"
)
KEY = "replayed key apiKey { id plainId name state expiresAt userId }"


def mutation(name, wanted):
    kind = f"{name[0].upper()}{name[1:]}Input"
    return f"mutation($i: {kind}!) {{ {name}(input: $i) {{ errors {{ code message field retryAfterS }} {wanted} }} }}"


CREATE_USER = mutation(
    "createUser", "replayed user { id plainId name role state tierName version organisation { name } }"
)
UPDATE_USER = mutation("updateUser", "user { name role state version }")
DELETE_USER = mutation("deleteUser", "deletedId")
CREATE_KEY = mutation("createApiKey", KEY)
ROTATE_KEY = mutation("rotateApiKey", KEY)
REVOKE_KEY = mutation("revokeApiKey", "apiKey { state revokedAt }")
CREATE_TIER = mutation("createTier", f"replayed {TIER}")
UPDATE_TIER = mutation("updateTier", TIER)
DELETE_TIER = mutation("deleteTier", "deletedId")
OVERRIDE = mutation(
    "overrideQuota",
    "quota { version overrides { name model endpoint value } limits { name limit source scope } }",
)
TOP_UP = mutation("topUpQuota", "replayed topUp { tokens usd reason createdBy } quota { topUps { tokens } }")
UPSTREAM = mutation("updateUpstream", "upstream { weight state version source changed { by reason } }")
TRIP = mutation("tripBreaker", "breaker { state held source version changed { reason } }")
RESET = mutation("resetBreaker", "breaker { state held version }")
RELOAD = 'mutation { reloadConfig(input: {reason: "test"}) { errors { code message } applied needsRestart ignored } }'


async def done(graph, query, **given):
    (answer,) = (await graph.ask(query, i=given)).values()
    assert answer["errors"] == [], answer
    return answer


async def refused(graph, query, **given):
    (answer,) = (await graph.ask(query, i=given)).values()
    assert len(answer["errors"]) == 1
    assert not any(value for name, value in answer.items() if name != "errors")
    return answer["errors"][0]["code"], answer["errors"][0]["field"]


async def test_users_are_made_changed_and_deleted_as_at_the_other_door(edge_with):
    async with edge_with(options=()) as served:
        graph = await graph_over(served)
        made = (await done(graph, CREATE_USER, name="eve", tier="free", role="OPERATOR"))["user"]
        assert made == {
            "id": global_id("User", made["plainId"]),
            "plainId": made["plainId"],
            "name": "eve",
            "role": "OPERATOR",
            "state": "ACTIVE",
            "tierName": "free",
            "version": 1,
            "organisation": {"name": "default"},
        }
        changed = (await done(graph, UPDATE_USER, id=made["id"], state="SUSPENDED", role="USER", version=1))["user"]
        assert changed == {"name": "eve", "role": "USER", "state": "SUSPENDED", "version": 2}
        assert await refused(graph, UPDATE_USER, id=made["id"], name="x", version=1) == ("STALE", None)
        assert await refused(graph, UPDATE_USER, id="usr_none", name="x") == ("NOT_FOUND", None)
        assert await refused(graph, CREATE_USER, name="eve", tier="free") == ("CONFLICT", "name")
        assert await refused(graph, CREATE_USER, name=" ", tier="free") == ("INVALID_REQUEST", "name")
        assert await refused(graph, CREATE_USER, name="x", tier="none") == ("INVALID_REQUEST", "tier")
        assert await refused(graph, DELETE_USER, id=graph.admin.user_id) == ("CONFLICT", None)
        assert (await done(graph, DELETE_USER, id=made["plainId"]))["deletedId"] == made["id"]
        assert await graph.ask("query($i: ID!) { user(id: $i) { id } }", i=made["id"]) == {"user": None}
        trail = await graph.ask(
            "query($s: String!) { audit(filter: {subject: $s}) { nodes { action who before after requestId } } }",
            s=made["plainId"],
        )
        rows = trail["audit"]["nodes"]
        assert [row["action"] for row in rows] == ["delete_user", "update_user", "create_user"]
        assert {(row["who"], row["requestId"]) for row in rows} == {(graph.admin.user_id, "req_test")}
        assert (rows[2]["before"], rows[2]["after"]["name"]) == (None, "eve")


async def test_a_create_that_is_sent_twice_is_made_once(edge_with):
    async with edge_with(options=()) as served:
        graph = await graph_over(served)
        user = graph.user.user_id
        for query, named in (
            (CREATE_USER, {"name": "once", "tier": "free"}),
            (
                CREATE_TIER,
                {"name": "once", "tokensPerMinute": 7, "byModel": [{"model": "m", "limits": {"tokensPerDay": 3}}]},
            ),
            (TOP_UP, {"userId": user, "tokens": 5, "reason": "once"}),
            (CREATE_KEY, {"userId": user, "expiresAt": "2999-01-01T00:00:00Z"}),
        ):
            first = await done(graph, query, idempotencyKey="k-1", **named)
            second = await done(graph, query, idempotencyKey="k-1", **named)
            assert (first["replayed"], second["replayed"]) == (False, True)
            if "key" in first:
                assert first["key"].startswith("cit_")
                assert second["key"] is None
            changing = {"replayed", "key"}
            assert {n: v for n, v in first.items() if n not in changing} == {
                n: v for n, v in second.items() if n not in changing
            }
        assert await refused(graph, CREATE_USER, name="other", tier="free", idempotencyKey="k-1") == (
            "IDEMPOTENCY_MISMATCH",
            "Idempotency-Key",
        )
        assert await refused(graph, CREATE_USER, name="other", tier="free", idempotencyKey=" ") == (
            "INVALID_REQUEST",
            "Idempotency-Key",
        )


async def test_keys_are_made_rotated_and_end_everywhere(edge_with):
    async with edge_with(options=()) as served:
        graph = await graph_over(served)
        made = await done(graph, CREATE_KEY, userId=global_id("User", graph.user.user_id), name="one")
        assert (await served.edge.directory.authenticate(made["key"])).user_id == graph.user.user_id
        assert made["apiKey"]["userId"] == global_id("User", graph.user.user_id)
        rotated = await done(graph, ROTATE_KEY, id=made["apiKey"]["id"], overlapS=60)
        assert (await served.edge.directory.authenticate(rotated["key"])).user_id == graph.user.user_id
        assert await refused(graph, ROTATE_KEY, id=made["apiKey"]["id"]) == ("CONFLICT", None)
        ended = await done(graph, REVOKE_KEY, id=rotated["apiKey"]["id"])
        assert ended["apiKey"]["state"] == "REVOKED"
        assert ended["apiKey"]["revokedAt"].endswith("Z")
        assert served.edge.directory.lookup(rotated["key"]) is None
        assert await refused(graph, REVOKE_KEY, id="key_none") == ("NOT_FOUND", None)
        assert await refused(graph, CREATE_KEY, userId="usr_none") == ("NOT_FOUND", None)
        assert await refused(graph, CREATE_KEY, userId=graph.user.user_id, expiresAt="2001-01-01T00:00:00Z") == (
            "INVALID_REQUEST",
            "expiresAt",
        )


async def test_tiers_take_what_the_configuration_takes(edge_with):
    async with edge_with(options=()) as served:
        graph = await graph_over(served)
        made = await done(
            graph,
            CREATE_TIER,
            name="gold",
            requestsPerMinute=60,
            usdPerMonth=12.5,
            models=["sim-model"],
            byModel=[{"model": "sim-model", "limits": {"tokensPerDay": 5}}],
            onRedisDown={"requests": "CLOSED"},
        )
        assert made["tier"] == {
            "id": global_id("Tier", "gold"),
            "name": "gold",
            "requestsPerMinute": 60,
            "tokensPerMinute": None,
            "usdPerMonth": 12.5,
            "burst": 0.2,
            "priority": 1,
            "models": ["sim-model"],
            "version": 1,
            "byModel": [{"model": "sim-model", "limits": {"tokensPerDay": 5}}],
            "onRedisDown": {"requests": "CLOSED", "spend": "CLOSED"},
        }
        changed = (await done(graph, UPDATE_TIER, name="gold", requestsPerMinute=None, priority=3, version=1))["tier"]
        assert (changed["requestsPerMinute"], changed["priority"], changed["usdPerMonth"]) == (None, 3, 12.5)
        assert changed["byModel"] == made["tier"]["byModel"]
        assert await refused(graph, UPDATE_TIER, name="gold", burst=7) == ("INVALID_REQUEST", "burst")
        assert await refused(graph, UPDATE_TIER, name="gold", priority=1, version=1) == ("STALE", None)
        twice = [{"model": "x", "limits": {"concurrent": count}} for count in (1, 2)]
        assert await refused(graph, CREATE_TIER, name="twice", byModel=twice) == ("INVALID_REQUEST", "byModel")
        assert await refused(graph, UPDATE_TIER, name="gold", byModel=twice) == ("INVALID_REQUEST", "byModel")
        assert await refused(graph, CREATE_TIER, name="gold") == ("CONFLICT", "name")
        assert await refused(graph, DELETE_TIER, name="free") == ("CONFLICT", None)
        assert (await done(graph, DELETE_TIER, name="gold"))["deletedId"] == global_id("Tier", "gold")


async def test_overrides_are_replaced_as_a_whole_and_top_ups_count(edge_with):
    async with edge_with(options=()) as served:
        graph = await graph_over(served)
        user = graph.user.user_id
        listed = [
            {"name": "CONCURRENT", "value": None},
            {"name": "TOKENS_PER_DAY", "value": 5000},
            {"name": "REQUESTS_PER_MINUTE", "value": 3, "model": "sim-model"},
            {"name": "USD_PER_MONTH", "value": 1.5, "endpoint": "/v1/embeddings"},
        ]
        quota = (await done(graph, OVERRIDE, userId=user, overrides=listed, version=0))["quota"]
        assert quota["overrides"] == [{"model": None, "endpoint": None, **each} for each in listed]
        limits = {(each["name"], each["scope"]): (each["limit"], each["source"]) for each in quota["limits"]}
        assert limits["TOKENS_PER_DAY", "user"] == (5000, "OVERRIDE")
        assert limits["CONCURRENT", "user"] == (None, "OVERRIDE")
        assert limits["REQUESTS_PER_MINUTE", "user model sim-model"] == (3, "OVERRIDE")
        again = (await done(graph, OVERRIDE, userId=user, overrides=[], version=1))["quota"]
        assert (again["overrides"], again["version"]) == ([], 2)
        twice = [{"name": "CONCURRENT", "value": 1}] * 2
        assert await refused(graph, OVERRIDE, userId=user, overrides=twice) == ("INVALID_REQUEST", "overrides")
        both = [{"name": "CONCURRENT", "value": 1, "model": "m", "endpoint": "/v1/x"}]
        assert await refused(graph, OVERRIDE, userId=user, overrides=both) == ("INVALID_REQUEST", "overrides")
        below = [{"name": "CONCURRENT", "value": -1}]
        assert (await refused(graph, OVERRIDE, userId=user, overrides=below))[0] == "INVALID_REQUEST"
        given = await done(graph, TOP_UP, userId=user, usd=2.5, reason="sorry")
        assert given["topUp"] == {"tokens": None, "usd": 2.5, "reason": "sorry", "createdBy": graph.admin.user_id}
        given = await done(graph, TOP_UP, userId=user, tokens=10**10, reason="sorry")
        assert [each["tokens"] for each in given["quota"]["topUps"]] == [None, 10**10]
        assert await refused(graph, TOP_UP, userId=user, reason="nothing") == ("INVALID_REQUEST", "usd")


async def test_operators_settings_of_the_fleet_hold_at_once(edge_with):
    async with edge_with() as served:
        graph = await graph_over(served)
        identity = global_id("Upstream", "sim-0")
        changed = (await done(graph, UPSTREAM, id=identity, weight=0.5, state="DRAINING"))["upstream"]
        assert changed == {
            "weight": 0.5,
            "state": "DRAINING",
            "version": 1,
            "source": "api",
            "changed": {"by": graph.admin.user_id, "reason": None},
        }
        assert served.edge.fleet.table.rows["sim-0"].weight == 0.5
        changed = (await done(graph, UPSTREAM, id="sim-0", weight=None, version=1))["upstream"]
        assert (changed["weight"], changed["state"]) == (None, "DRAINING")
        assert await refused(graph, UPSTREAM, id="sim-0", state="ACTIVE", version=1) == ("STALE", None)
        assert await refused(graph, UPSTREAM, id="sim-0") == ("INVALID_REQUEST", None)
        assert await refused(graph, UPSTREAM, id="none", weight=1) == ("NOT_FOUND", None)
        tripped = (await done(graph, TRIP, id=global_id("Breaker", "sim-0"), reason="maintenance"))["breaker"]
        assert tripped == {
            "state": "OPEN",
            "held": True,
            "source": "api",
            "version": 1,
            "changed": {"reason": "maintenance"},
        }
        only_open = await graph.ask("{ breakers(state: OPEN) { nodes { plainId } } }")
        assert only_open["breakers"]["nodes"] == [{"plainId": "sim-0"}]
        closed = (await done(graph, RESET, id="sim-0", version=1))["breaker"]
        assert closed == {"state": "CLOSED", "held": False, "version": 2}
        assert await refused(graph, TRIP, id="none") == ("NOT_FOUND", None)


async def test_the_configuration_is_read_anew_and_mistakes_are_told(edge_with):
    async def reloaded():
        return {"applied": ["routing.retries"], "needs_restart": [], "ignored": [], "errors": ["upstreams[0].url: no"]}

    async with edge_with(options=()) as served:
        graph = await graph_over(served, reload=reloaded)
        answer = (await graph.ask(RELOAD))["reloadConfig"]
        assert answer["applied"] == ["routing.retries"]
        assert [(each["code"], each["message"]) for each in answer["errors"]] == [
            ("INVALID_REQUEST", "upstreams[0].url: no")
        ]
        alone = await graph_over(served)
        answer = (await alone.ask(RELOAD))["reloadConfig"]
        assert [each["code"] for each in answer["errors"]] == ["CONFLICT"]
        assert (answer["applied"], answer["needsRestart"], answer["ignored"]) == ([], [], [])
