"""What the graph answers to questions, and to whom."""

from dataclasses import replace
from inspect import isawaitable

import pytest

from citadel_edge.accounts.principal import Role
from citadel_edge.graph.compiled.operation import compile_operation
from citadel_edge.listeners.graphql.binding import needed_role
from citadel_edge.listeners.graphql.resolvers.ids import global_id
from graphs import everything, graph_over

PLAIN = (
    "viewer", "models", "upstreams", "breakers", "listeners", "services", "decisions", "streams", "users", "tiers",
    "organisations", "usage", "audit",
)  # fmt: skip
CHAT = '{model: "sim-model", messages: [{role: USER, content: "Say something."}], maxTokens: 8}'
ASKED = {
    "model": 'name: "sim-alias"',
    "upstream": 'id: "sim-0"',
    "tier": 'name: "unlimited"',
    "user": 'id: "me"',
    "explainRoute": f"input: {CHAT}",
    "estimate": f"input: {CHAT}",
}
FOR_OPERATORS = {
    "upstreams", "upstream", "breakers", "listeners", "users", "tiers", "tier", "organisations", "audit", "metric",
    "operationPatterns",
}  # fmt: skip
ELSEWHERE = {"node", "metric", "operationPatterns"}


def selection(graph, name, depth=6):
    return everything(graph.schema.query_type.fields[name].type, depth=depth)


async def test_every_field_of_every_root_is_answered(edge_with):
    async with edge_with() as served:
        graph = await graph_over(served)
        data = await graph.ask(f"mutation {{ chat(input: {CHAT}) {{ streamId decisionId }} }}")
        asked = {
            **ASKED,
            "stream": f'id: "{data["chat"]["streamId"]}"',
            "decision": f'id: "{data["chat"]["decisionId"]}"',
        }
        for name in PLAIN:
            assert await graph.ask(f"{{ {name} {selection(graph, name)} }}"), name
        for name, arguments in asked.items():
            found = await graph.ask(f"{{ {name}({arguments}) {selection(graph, name)} }}")
            assert found[name], name
        assert {*PLAIN, *asked, *ELSEWHERE} == graph.schema.query_type.fields.keys()


async def test_compiled_questions_are_answered_as_uncompiled_ones(edge_with):
    async with edge_with(options=()) as served:
        graph = await graph_over(served)
        for name in (*PLAIN, "tier", "user"):
            if name == "services":
                continue  # how long each was asked changes all the time
            arguments = f"({ASKED[name]})" if name in ASKED else ""
            query = f"{{ {name}{arguments} {selection(graph, name)} }}"
            document = graph.document(query)
            compiled = compile_operation(graph.schema, document, document.definitions[0])
            assert compiled is not None, name
            for who in (graph.admin, graph.user):
                found = compiled.run(None, graph.context(who), {})
                found = await found if isawaitable(found) else found
                usual = await graph.result(query, who=who)
                assert found.data == usual.data, name
                assert [error.path for error in found.errors or ()] == [error.path for error in usual.errors or ()]


async def test_a_role_that_does_not_cover_a_field_gets_null_there_and_the_rest(edge_with):
    async with edge_with(options=()) as served:
        graph = await graph_over(served)
        roots = {name: needed_role(each) for name, each in graph.schema.query_type.fields.items()}
        assert {name for name, role in roots.items() if role is Role.OPERATOR} == FOR_OPERATORS
        assert {role for name, role in roots.items() if name not in FOR_OPERATORS} == {None}
        for name in sorted(FOR_OPERATORS - {"metric"}):
            arguments = f"({ASKED[name]})" if name in ASKED else ""
            query = f"{{ viewer {{ name }} {name}{arguments} {selection(graph, name, depth=2)} }}"
            for role in (Role.USER, Role.SERVICE):
                refused = await graph.result(query, who=replace(graph.user, role=role))
                assert refused.data == {"viewer": {"name": "demo"}, name: None}
                assert [error.original_error.code.text for error in refused.errors] == ["forbidden"]
            allowed = await graph.result(query, who=replace(graph.user, role=Role.OPERATOR))
            assert allowed.errors is None, allowed.errors


async def test_every_mutation_but_a_user_s_own_needs_an_admin(edge_with):
    async with edge_with(options=()) as served:
        graph = await graph_over(served)
        roles = {name: needed_role(each) for name, each in graph.schema.mutation_type.fields.items()}
        assert {name for name, role in roles.items() if role is None} == {"chat", "cancelStream", "sendFeedback"}
        assert set(roles.values()) == {None, Role.ADMIN}
        operator = replace(graph.user, role=Role.OPERATOR)
        refused = await graph.result('mutation { deleteTier(input: {name: "free"}) { deletedId } }', who=operator)
        assert refused.data == {"deleteTier": None}
        assert refused.errors[0].original_error.code.text == "forbidden"
        assert (await graph.ask('{ tier(name: "free") { name } }'))["tier"]


async def test_users_find_themselves_and_nobody_else(edge_with):
    async with edge_with(options=()) as served:
        graph = await graph_over(served)
        query = "query($id: ID!) { user(id: $id) { name quota { tier limits { name } } topUps { nodes { id } } } }"
        own = graph.user.user_id
        for identity in (own, "me", global_id("User", own)):
            data = await graph.ask(query, who=graph.user, id=identity)
            assert data["user"]["name"] == "demo"
        for identity in (graph.admin.user_id, global_id("User", graph.admin.user_id), "usr_nobody", "\u0000"):
            assert await graph.ask(query, who=graph.user, id=identity) == {"user": None}
        assert (await graph.ask(query, id=own))["user"]["name"] == "demo"
        keys = await graph.result('{ user(id: "me") { keys { nodes { id } } } }', who=graph.user)
        assert keys.data == {"user": {"keys": None}}


async def test_arguments_that_cannot_be_are_refused_in_words(edge_with):
    async with edge_with() as served:
        graph = await graph_over(served)
        wrong = await graph.result("query($id: ID!) { upstream(id: $id) { id } }", id=global_id("Breaker", "sim-0"))
        assert wrong.data == {"upstream": None}
        assert wrong.errors[0].original_error.code.text == "invalid_request"
        for root in ("users", "models", "decisions", "streams"):
            for first in (0, -1, 101):
                wrong = await graph.result(f"{{ {root}(first: {first}) {{ nodes {{ id }} }} }}")
                assert wrong.errors[0].original_error.param == "first"
        for root in ("users", "models", "decisions", "audit"):
            wrong = await graph.result(f'{{ {root}(after: "*") {{ nodes {{ id }} }} }}')
            assert wrong.errors[0].original_error.code.text == "invalid_request", root


async def test_a_cursor_of_another_list_is_refused_and_leaves_the_other_lists_whole(edge_with):
    lists = ("users", "tiers", "organisations", "audit", "models", "upstreams", "breakers")
    async with edge_with() as served:
        graph = await graph_over(served)
        ends = {}
        for each in lists:
            page = (await graph.ask(f"{{ {each}(first: 1) {{ pageInfo {{ endCursor }} }} }}"))[each]
            ends[each] = page["pageInfo"]["endCursor"]
        asked = " ".join(f"{each}(after: $after) {{ nodes {{ id }} }}" for each in lists)
        for cursor in (*ends.values(), "%%%"):
            result = await graph.result(f"query($after: Cursor) {{ {asked} }}", after=cursor)
            accepted = {each for each, page in result.data.items() if page is not None}
            assert accepted == {each for each in lists if ends[each] == cursor}
            assert {error.original_error.code.text for error in result.errors} == {"invalid_request"}


async def test_a_wrong_page_takes_no_sibling_with_it(edge_with):
    async with edge_with(options=()) as served:
        graph = await graph_over(served)
        query = (
            '{ viewer { name } models(first: 0) { nodes { name } } user(id: "me") { name'
            ' keys(first: 101) { nodes { id } } topUps(after: "x") { nodes { id } }'
            " organisation { name users(first: 0) { nodes { id } } } } }"
        )
        result = await graph.result(query)
        organisation = {"name": "default", "users": None}
        user = {"name": "admin", "keys": None, "topUps": None, "organisation": organisation}
        assert result.data == {"viewer": {"name": "admin"}, "models": None, "user": user}
        assert sorted(error.original_error.param for error in result.errors) == ["after", "first", "first", "first"]


async def test_names_that_no_database_can_hold_are_refused_in_words(edge_with):
    async with edge_with(options=()) as served:
        graph = await graph_over(served)
        query = 'query($n: String!) { bad: tier(name: $n) { name } good: tier(name: "free") { name } }'
        result = await graph.result(query, n="\0")
        assert result.data == {"bad": None, "good": {"name": "free"}}
        assert [error.original_error.code.text for error in result.errors] == ["invalid_request"]
        for kind in ("Tier", "Organisation", "User", "ApiKey", "TopUp", "AuditEntry", "Decision", "Stream", "Model"):
            node = "query($id: ID!) { node(id: $id) { id } }"
            result = await graph.result(node, id=global_id(kind, "x\0y"))
            assert result.data == {"node": None}, kind
            assert {error.original_error.code.text for error in result.errors or ()} <= {"invalid_request"}


async def test_whatever_has_a_global_id_is_found_by_it_and_another_s_is_not_there(edge_with):
    async with edge_with() as served:
        graph = await graph_over(served)
        await graph.ask(f"mutation {{ chat(input: {CHAT}) {{ streamId }} }}")
        await graph.ask(
            'mutation($id: ID!) { topUpQuota(input: {userId: $id, tokens: 5, reason: "test"}) { errors { message } } }',
            id=graph.admin.user_id,
        )
        data = await graph.ask(
            "{ models { nodes { id } } upstreams { nodes { id } } breakers { nodes { id } }"
            " decisions { nodes { id } } users { nodes { id keys { nodes { id } } topUps { nodes { id } } } }"
            " tiers { nodes { id } } organisations { nodes { id } } audit { nodes { id } } }"
        )
        found = {}
        for listed in data.values():
            for one in listed["nodes"]:
                found[one["id"]] = one
                for inner in ("keys", "topUps"):
                    found |= {each["id"]: each for each in one.get(inner, {}).get("nodes", ())}
        kinds = set()
        for identity in found:
            node = (await graph.ask("query($id: ID!) { node(id: $id) { __typename id } }", id=identity))["node"]
            assert node["id"] == identity
            kinds.add(node["__typename"])
        nodes = {kind.name for kind in graph.schema.get_possible_types(graph.schema.type_map["Node"])}
        assert kinds == nodes - {"Stream"}  # that one is over: it is in no list
        seen = set()
        for identity in found:
            node = await graph.ask("query($id: ID!) { node(id: $id) { __typename } }", who=graph.user, id=identity)
            seen.add((node["node"] or {}).get("__typename"))
        assert seen == {"Model", "User", None}
        for odd in ("", "=", "VXNlcg", global_id("Nothing", "x"), global_id("AuditEntry", "x"), "sim-0"):
            result = await graph.result("query($id: ID!) { node(id: $id) { id } }", id=odd)
            assert result.data == {"node": None}


async def test_lists_are_walked_page_by_page_without_a_gap(edge_with):
    async with edge_with(options=()) as served:
        graph = await graph_over(served)
        made = 'mutation($name: String!) { createUser(input: {name: $name, tier: "free"}) { user { id } } }'
        for number in range(5):
            await graph.ask(made, name=f"page-{number}")
        query = (
            "query($after: Cursor) { users(first: 2, after: $after) { nodes { name } edges { cursor node { name } }"
            " pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"
        )
        names, after, pages = [], None, 0
        while True:
            page = (await graph.ask(query, after=after))["users"]
            assert [edge["node"] for edge in page["edges"]] == page["nodes"]
            info = page["pageInfo"]
            assert info["hasPreviousPage"] is (after is not None)
            assert (info["startCursor"], info["endCursor"]) == (page["edges"][0]["cursor"], page["edges"][-1]["cursor"])
            names += [node["name"] for node in page["nodes"]]
            after, pages = info["endCursor"], pages + 1
            if not info["hasNextPage"]:
                break
        assert names == ["admin", "demo", *(f"page-{number}" for number in range(5))]
        assert pages == 4


async def test_what_a_list_asks_for_row_by_row_is_asked_for_together(edge_with, monkeypatch):
    async with edge_with(options=()) as served:
        graph = await graph_over(served)
        made = 'mutation($name: String!) { createUser(input: {name: $name, tier: "free"}) { user { plainId } } }'
        key = 'mutation($id: ID!) { createApiKey(input: {userId: $id, name: "k"}) { apiKey { id } } }'
        for number in range(20):
            user = (await graph.ask(made, name=f"many-{number}"))["createUser"]["user"]
            await graph.ask(key, id=user["plainId"])
        asked = []
        pool = type(served.edge.postgres)
        fetch, fetchrow = pool.fetch, pool.fetchrow
        monkeypatch.setattr(
            pool, "fetch", lambda self, query, *a, **k: asked.append(query) or fetch(self, query, *a, **k)
        )
        monkeypatch.setattr(
            pool, "fetchrow", lambda self, query, *a, **k: asked.append(query) or fetchrow(self, query, *a, **k)
        )
        data = await graph.ask(
            '{ users(first: 100, filter: {name: "many-"}) { nodes { name tier { name } organisation { name }'
            " keys(first: 1, state: ACTIVE) { nodes { name state } } } } }"
        )
        rows = data["users"]["nodes"]
        assert len(rows) == 20
        assert rows[0] == {
            "name": "many-0",
            "tier": {"name": "free"},
            "organisation": {"name": "default"},
            "keys": {"nodes": [{"name": "k", "state": "ACTIVE"}]},
        }
        assert len(asked) == 4


async def test_an_estimate_prices_the_chat_that_follows(edge_with):
    async with edge_with() as served:
        graph = await graph_over(served)
        query = (
            "query($chat: ChatInput!) { estimate(input: $chat) { model upstream tokensIn tokensOut mostTokensOut"
            " costUsd mostCostUsd cost costLimit limits { allowed standings { name } } }"
            " explainRoute(input: $chat) { chosen estimate { costUsd } candidates { upstream score parts { name value }"
            " excluded { code reason } } } }"
        )
        chat = {"model": "sim-alias", "messages": [{"role": "USER", "content": "x" * 400}], "maxTokens": 10}
        data = await graph.ask(query, who=graph.user, chat=chat)
        told = data["estimate"]
        assert told["model"] == "sim-model"
        assert (told["upstream"], told["mostTokensOut"], told["limits"]["allowed"]) == ("sim-0", 10, True)
        assert told["mostCostUsd"] == pytest.approx((told["tokensIn"] * 1 + 10 * 2) / 1e6)
        assert 0 < told["costUsd"] <= told["mostCostUsd"]
        assert told["cost"] == pytest.approx((told["tokensIn"] + 10) * 0.02)
        assert data["explainRoute"]["chosen"] == "sim-0"
        assert data["explainRoute"]["estimate"]["costUsd"] == told["costUsd"]
        assert data["explainRoute"]["candidates"][0]["excluded"] is None
        assert (await served.rows()) == []
        unknown = await graph.result(query, chat={**chat, "model": "none"})
        assert {error.original_error.code.text for error in unknown.errors} == {"model_not_found"}


async def test_decisions_are_one_s_own_and_an_operator_sees_all(edge_with):
    async with edge_with() as served:
        graph = await graph_over(served)
        query = (
            "query($f: DecisionFilter) { decisions(filter: $f) { complete nodes { plainId userId outcome attempts"
            " { upstream mark outcome } } } }"
        )
        for who in (graph.admin, graph.user):
            await graph.ask(f"mutation {{ chat(input: {CHAT}) {{ content }} }}", who=who)
        everybody = (await graph.ask(query))["decisions"]
        assert everybody["complete"]
        assert len(everybody["nodes"]) == 2
        own = (await graph.ask(query, who=graph.user))["decisions"]["nodes"]
        assert [one["userId"] for one in own] == [global_id("User", graph.user.user_id)]
        assert own[0]["attempts"] == [{"upstream": "sim-0", "mark": "FIRST", "outcome": "done"}]
        assert own[0]["outcome"] == "DONE"
        named = {"upstream": global_id("Upstream", "sim-0"), "outcome": "DONE", "model": "sim-alias"}
        assert len((await graph.ask(query, f={**named, "model": "sim-model"}))["decisions"]["nodes"]) == 2
        assert (await graph.ask(query, f={"outcome": "ERROR"}))["decisions"]["nodes"] == []
        other = next(one for one in everybody["nodes"] if one["plainId"] != own[0]["plainId"])
        single = "query($id: ID!) { decision(id: $id) { plainId } }"
        assert await graph.ask(single, who=graph.user, id=other["plainId"]) == {"decision": None}
        assert (await graph.ask(single, who=graph.user, id=own[0]["plainId"]))["decision"] == {
            "plainId": own[0]["plainId"]
        }
