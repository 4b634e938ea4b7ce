"""Lists are narrowed, and the document says what the routes take and answer."""

from accounts_api import Api, used
from citadel_edge.config.shape import ListenerName
from schema_check import flaws


async def test_users_are_narrowed_by_what_they_are(edge_with):
    async with edge_with(options=()) as served:
        api = Api(served)
        await api("POST", "/v1/organisations", {"name": "acme"})
        await api("POST", "/v1/tiers", {"name": "pro"})
        ada, _ = await api.user("ada", organisation="acme")
        adam, _ = await api.user("adam", role="operator")
        eve, _ = await api.user("eve", tier="pro")
        await api("PATCH", f"/v1/users/{eve['id']}", {"state": "suspended"})
        for query, names in (
            ("name=ada", ["ada", "adam"]),
            ("name=ada&role=user", ["ada"]),
            ("state=suspended", ["eve"]),
            ("tier=pro&state=active", []),
            (f"organisation={ada['organisation_id']}", ["ada"]),
            ("role=operator", ["adam"]),
            ("name=%25", []),
            ("name=a&limit=1", ["admin"]),
        ):
            assert [user["name"] for user in (await api("GET", f"/v1/users?{query}"))[1]["data"]] == names
        for query in ("role=king", "state=gone", "role=", "name=%00", "tier=%00"):
            assert (await api("GET", f"/v1/users?{query}"))[0] == 400
        assert [one["name"] for one in (await api("GET", "/v1/organisations?name=ac"))[1]["data"]] == ["acme"]
        assert adam["role"] == "operator"


async def test_keys_are_narrowed_by_their_state(edge_with):
    async with edge_with(options=()) as served:
        api = Api(served)
        user, _ = await api.user()
        keys = f"/v1/users/{user['id']}/keys"
        made = {}
        for name in ("works", "ended", "over"):
            made[name] = (await api("POST", keys, {"name": name, "expires_at": "2999-01-01T00:00:00Z"}))[1]["id"]
        await api("DELETE", f"{keys}/{made['ended']}")
        await served.edge.postgres.execute("UPDATE api_keys SET expires_at = now() WHERE id = $1", made["over"])
        for state, names in (("active", ["default", "works"]), ("revoked", ["ended"]), ("expired", ["over"])):
            assert [key["name"] for key in (await api("GET", f"{keys}?state={state}"))[1]["data"]] == names
        assert (await api("GET", f"{keys}?state=lost"))[0] == 400
        assert (await api("GET", "/v1/users/usr_x/keys"))[0] == 404


async def test_the_trail_is_narrowed_by_who_what_and_when(edge_with):
    async with edge_with(options=()) as served:
        api = Api(served)
        _, second = await api.user("second", tier="unlimited", role="admin")
        _, me = await second("GET", "/v1/users/me")
        ada, _ = await api.user("ada")
        await second("PATCH", f"/v1/users/{ada['id']}", {"tier": "unlimited"})

        async def found(query):
            return [line["action"] for line in (await api("GET", f"/v1/audit?{query}"))[1]["data"]]

        assert await found(f"who={me['id']}") == ["update_user"]
        assert await found(f"subject={ada['id']}") == ["update_user", "create_user"]
        assert await found(f"subject={ada['id']}&action=create_user") == ["create_user"]
        assert await found("who=bootstrap&action=create_user") == ["create_user"] * 2
        assert await found("from=2026-01-01&to=2026-01-02") == []
        today = served.edge.clock.now().date().isoformat()
        assert len(await found(f"from={today}&limit=200")) > 5
        assert await found(f"to={today}") == []
        for query in ("from=x", "to=2026-13-01", "who=%00"):
            assert (await api("GET", f"/v1/audit?{query}"))[0] == 400


async def test_every_answer_is_what_the_document_says(edge_with):
    async with edge_with(options=()) as served:
        api = Api(served)
        async with served.client.get(served.url("/openapi.json", ListenerName.RATE_LIMITING)) as answer:
            document = await answer.json()
        user, _ = await api.user()
        await used(served, user, {"at": served.edge.clock.now().isoformat()})
        own, places = f"/v1/users/{user['id']}", {"id": user["id"]}

        async def asked(method, template, body=None, query="", **more):
            path = template.format(**{**places, **more})
            status, shown = await api(method, path + query, body)
            operation = document["paths"][template][method.lower()]
            schema = operation["responses"][str(status)]["content"].get("application/json", {}).get("schema", {})
            assert list(flaws(shown, schema)) == [], (method, template)
            if body is not None:
                sent = operation["requestBody"]["content"]["application/json"]["schema"]
                assert list(flaws(body, sent)) == [], (method, template)
            return shown

        tier = {"name": "gold", "concurrent": 1, "by_model": {"m": {"tokens_per_day": 1}}}
        await asked("POST", "/v1/tiers", tier)
        await asked("PATCH", "/v1/tiers/{name}", {"burst": 0.5, "usd_per_month": None}, name="gold")
        await asked("GET", "/v1/tiers")
        await asked("GET", "/v1/tiers/{name}", name="gold")
        acme = {"name": "acme", "limits": {"concurrent": 2, "burst": 0.1, "by_endpoint": {"/v1/x": {"concurrent": 1}}}}
        made = await asked("POST", "/v1/organisations", acme)
        await asked("GET", "/v1/organisations")
        await asked("GET", "/v1/organisations/{id}", id=made["id"])
        await asked("PATCH", "/v1/organisations/{id}", {"limits": {}}, id=made["id"])
        await asked("GET", "/v1/organisations/{id}/usage", query="?by=day,user,model,key", id=user["organisation_id"])
        await asked("POST", "/v1/users", {"name": "bob", "tier": "gold", "role": "operator"})
        await asked("GET", "/v1/users")
        await asked("GET", "/v1/users/{id}")
        await asked("PATCH", "/v1/users/{id}", {"state": "suspended"})
        key = await asked("POST", "/v1/users/{id}/keys", {"name": "k", "expires_at": "2999-01-01T00:00:00Z"})
        await asked("POST", "/v1/users/{id}/keys/{key_id}/rotate", {"overlap_s": 5}, key_id=key["id"])
        await asked("GET", "/v1/users/{id}/keys")
        await asked("DELETE", "/v1/users/{id}/keys/{key_id}", key_id=key["id"])
        overrides = {"tokens_per_day": None, "usd_per_month": 1.5, "by_model": {"m": {"concurrent": 1}}}
        await asked("PATCH", "/v1/users/{id}/quota", {"overrides": overrides})
        await asked("POST", "/v1/users/{id}/quota/top-ups", {"usd": 1.5, "reason": "x"})
        given = await asked("POST", "/v1/users/{id}/quota/top-ups", {"tokens": 1, "reason": "x"})
        await asked("GET", "/v1/users/{id}/quota")
        await asked("GET", "/v1/users/{id}/quota/top-ups")
        await asked("DELETE", "/v1/users/{id}/quota/top-ups/{top_up_id}", top_up_id=given["id"])
        await asked("GET", "/v1/users/{id}/usage", query="?by=day,model,key")
        await asked("GET", "/v1/audit", query="?limit=200")
        assert own


async def test_what_the_document_forbids_is_refused(edge_with):
    async with edge_with(options=()) as served:
        api = Api(served)
        async with served.client.get(served.url("/openapi.json", ListenerName.RATE_LIMITING)) as answer:
            paths = (await answer.json())["paths"]
        for template, body in (
            ("/v1/users", {"name": "x", "tier": "free", "colour": "red"}),
            ("/v1/users", {"tier": "free"}),
            ("/v1/tiers", {"name": "x", "concurrent": -1}),
            ("/v1/tiers", {"name": "x", "concurrent": "1"}),
            ("/v1/tiers", {"name": "x", "by_model": {"m": {"x": 1}}}),
            ("/v1/tiers", {}),
            ("/v1/organisations", {"name": "x", "limits": {"x": 1}}),
        ):
            schema = paths[template]["post"]["requestBody"]["content"]["application/json"]["schema"]
            assert list(flaws(body, schema))
            assert (await api("POST", template, body))[0] == 400
