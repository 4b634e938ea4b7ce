"""Live state through the graph: what the hub publishes, to whom, from where on, and to a thousand at once."""

import asyncio
import time
from dataclasses import replace

import pytest
from graphql import ExecutionResult, subscribe

from citadel_edge.accounts.principal import Role
from citadel_edge.config.shape import ListenerName, TierConfig
from citadel_edge.errors import Code, RequestError
from citadel_edge.health.verdict import ListenerState
from citadel_edge.listeners.graphql.binding import needed_role
from citadel_edge.listeners.graphql.resolvers.ids import global_id
from citadel_edge.telemetry.hub import Topic
from graphs import everything, graph_over, open_generators

CHAT = '{model: "sim-model", messages: [{role: USER, content: "Say something."}], maxTokens: 8}'
TRIP = 'mutation { tripBreaker(input: {id: "sim-0", reason: "test"}) { errors { message } } }'
FOR_OPERATORS = {"upstreamHealth", "breakerChanges", "metrics", "listeners"}
WITHIN_S = 0.25


def asked(graph, name, arguments=""):
    kind = graph.schema.subscription_type.fields[name].type
    return f"subscription {{ {name}{arguments} {everything(kind, depth=4)} }}"


async def heard(stream, name):
    async with asyncio.timeout(30):
        result = await anext(stream)
    assert result.errors is None, result.errors
    return result.data[name]


@pytest.fixture
async def hearing(edge_with):
    tiers = (TierConfig(name="free", requests_per_minute=0),)
    async with edge_with(changes={"tiers": tiers}) as served:
        yield served, await graph_over(served)


async def test_every_topic_is_told_to_its_last_field(hearing):
    served, graph = hearing

    async def chats(who):
        await graph.ask(f"mutation {{ chat(input: {CHAT}) {{ content }} }}", who=who)

    causes = {
        "breakerChanges": lambda: graph.ask(TRIP),
        "upstreamHealth": lambda: graph.ask(
            'mutation { updateUpstream(input: {id: "sim-0", weight: 2}) { errors { message } } }'
        ),
        "decisions": lambda: chats(graph.admin),
        "usage": lambda: chats(graph.admin),
        "limitEvents": lambda: chats(graph.user),
        "metrics": lambda: asyncio.sleep(0),
        "listeners": lambda: _stopped(served),
    }
    assert {*causes, "chat", "stream"} == graph.schema.subscription_type.fields.keys()
    found = {}
    for name, cause in reversed(causes.items()):
        arguments = "(interval: 0.2)" if name == "metrics" else ""
        async with graph.hear(asked(graph, name, arguments)) as stream:
            async with asyncio.TaskGroup() as group:
                hearing = group.create_task(heard(stream, name))
                await asyncio.sleep(0.02)
                await cause()
            found[name] = hearing.result()
    assert all(event["cursor"].startswith(served.edge.hub.epoch) for event in found.values())
    assert found["breakerChanges"]["breaker"]["state"] == found["breakerChanges"]["state"] == "OPEN"
    assert (found["upstreamHealth"]["weight"], found["upstreamHealth"]["upstream"]["weight"]) == (2, 2)
    assert found["decisions"]["decision"]["outcome"] == "DONE"
    assert found["usage"]["row"]["endpoint"] == "/graphql"
    assert (found["limitEvents"]["kind"], found["limitEvents"]["limit"]) == ("DENIED", "REQUESTS_PER_MINUTE")
    assert [door["name"] for door in found["metrics"]["listeners"]] == [name.value for name in ListenerName]
    assert found["metrics"]["upstreams"][0]["upstream"] == "sim-0"
    assert (found["listeners"]["state"], found["listeners"]["listener"]["state"]) == ("STOPPED", "STOPPED")
    assert served.edge.hub.subscribers().total() == 0
    assert open_generators() == []


async def _stopped(served):
    served.edge.set_state(ListenerName.ROUTING, ListenerState.STOPPED)


async def test_users_hear_their_own_and_operators_everybody_s(hearing):
    served, graph = hearing
    roles = {name: needed_role(each) for name, each in graph.schema.subscription_type.fields.items()}
    assert {name for name, role in roles.items() if role is Role.OPERATOR} == FOR_OPERATORS
    assert {role for name, role in roles.items() if name not in FOR_OPERATORS} == {None}
    for name in FOR_OPERATORS:
        refused = subscribe(
            graph.schema,
            graph.document(f"subscription {{ {name} {{ cursor }} }}"),
            context_value=graph.context(graph.user),
        )
        assert isinstance(refused, ExecutionResult)
        assert refused.errors[0].original_error.code.text == "forbidden"
    hub = served.edge.hub
    for topic, name in ((Topic.DECISIONS, "decisions"), (Topic.USAGE, "usage"), (Topic.LIMITS, "limitEvents")):
        operator = replace(graph.user, user_id="usr_operator", role=Role.OPERATOR)
        query = f"subscription {{ {name} {{ cursor }} }}"
        async with graph.hear(query, who=graph.user) as own, graph.hear(query, who=operator) as all_of_them:
            async with asyncio.TaskGroup() as group:
                mine, theirs = (group.create_task(heard(stream, name)) for stream in (own, all_of_them))
                await asyncio.sleep(0.02)
                hub.publish(topic, {"user_id": "usr_other", "event": "denied"})
                hub.publish(topic, {"event": "degraded"})
                hub.publish(topic, {"user_id": graph.user.user_id, "event": "denied"})
            last = hub.seq
            assert mine.result()["cursor"] == f"{hub.epoch}:{last}"
            assert theirs.result()["cursor"] == f"{hub.epoch}:{last - 2}"


async def test_a_reader_goes_on_where_it_was_and_hears_what_is_missing(hearing):
    served, graph = hearing
    hub = served.edge.hub

    def publish(state, was):
        hub.publish(
            Topic.BREAKERS, {"breaker": "sim-0", "state": state, "was": was, "retry_in_s": None, "source": "api"}
        )

    query = (
        "subscription($after: Cursor, $recent: Int) {"
        " breakerChanges(after: $after, recent: $recent) { cursor state gap { count reason } } }"
    )
    publish("open", "closed")
    publish("closed", "open")
    async with graph.hear(query, recent=2) as stream:
        events = [await heard(stream, "breakerChanges") for _ in range(2)]
    assert [event["state"] for event in events] == ["OPEN", "CLOSED"]
    async with graph.hear(query, after=events[0]["cursor"]) as stream:
        assert await heard(stream, "breakerChanges") == events[1]
    async with graph.hear(query, after="zzzzzzzz:1") as stream:
        gap = (await heard(stream, "breakerChanges"))["gap"]
    assert gap["count"] is None
    assert "another process" in gap["reason"]
    async with graph.hear(query) as stream:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(heard(stream, "breakerChanges"))
            await asyncio.sleep(0.02)
            publish("open", "closed")
        assert first.result()["gap"] is None
        for _ in range(1100):
            publish("open", "closed")
        assert (await heard(stream, "breakerChanges"))["gap"] == {
            "count": 1100 - 1024,
            "reason": "this reader was slow",
        }
        assert (await heard(stream, "breakerChanges"))["gap"] is None
    for wrong in ({"after": "no cursor"}, {"recent": 300}, {"recent": -1}):
        refused = subscribe(graph.schema, graph.document(query), context_value=graph.context(), variable_values=wrong)
        assert refused.errors[0].original_error.code.text == "invalid_request"


async def test_one_replica_is_heard_alone(hearing):
    served, graph = hearing
    query = 'subscription { upstreamHealth(upstream: "sim-0") { upstreamId upstream { id } health was detail state } }'
    async with graph.hear(query) as stream, asyncio.TaskGroup() as group:
        told = group.create_task(heard(stream, "upstreamHealth"))
        await asyncio.sleep(0.02)
        for upstream in ("sim-9", "sim-0"):
            change = {"upstream": upstream, "health": "unhealthy", "was": "healthy", "detail": "no answer"}
            served.edge.hub.publish(Topic.HEALTH, change)
        served.edge.hub.publish(Topic.HEALTH, {"service": "graphql-api", "status": "healthy", "message": "x"})
    assert told.result() == {
        "upstreamId": "sim-0",
        "upstream": {"id": global_id("Upstream", "sim-0")},
        "health": "UNHEALTHY",
        "was": "HEALTHY",
        "detail": "no answer",
        "state": None,
    }


async def test_a_replica_that_the_fleet_does_not_have_is_not_waited_for(hearing):
    _, graph = hearing
    for named in ("nope", global_id("Upstream", "sim-9")):
        query = f'subscription {{ upstreamHealth(upstream: "{named}") {{ health }} }}'
        refused = subscribe(graph.schema, graph.document(query), context_value=graph.context())
        assert isinstance(refused, ExecutionResult)
        error = refused.errors[0].original_error
        assert (error.code.text, error.param) == ("not_found", "upstream")


async def test_figures_come_no_oftener_and_no_seldomer_than_is_useful(hearing):
    _, graph = hearing
    for interval in (0, 0.1, 61):
        query = f"subscription {{ metrics(interval: {interval}) {{ cpu }} }}"
        refused = subscribe(graph.schema, graph.document(query), context_value=graph.context())
        said = refused.errors[0].original_error
        assert (said.param, said.message) == (
            "interval",
            f"interval is a number of seconds from 0.2 to 60, got {interval}",
        )


async def test_a_draining_process_ends_its_subscriptions_with_the_reason(hearing):
    served, graph = hearing
    async with graph.hear("subscription { listeners { name } }") as stream:
        served.edge.hub.close()
        with pytest.raises(RequestError) as stopped:
            await anext(stream)
    assert stopped.value.code is Code.LISTENER_STOPPED


@pytest.mark.usefixtures("full_speed", "collecting_as_the_process_does")
async def test_one_event_reaches_a_thousand_readers_at_once_and_none_is_left_when_they_go(hearing):
    served, graph = hearing
    query = "subscription { breakerChanges { cursor at state was breakerId } }"
    came = []

    async def read():
        async with graph.hear(query) as stream:
            while True:
                await heard(stream, "breakerChanges")
                came.append(time.process_time())

    async with asyncio.TaskGroup() as group:
        readers = [group.create_task(read()) for _ in range(1000)]
        while served.edge.hub.subscribers()[Topic.BREAKERS] < len(readers):
            await asyncio.sleep(0.01)
        began = time.process_time()  # what others do on this machine does not count
        await graph.ask(TRIP)
        while len(came) < len(readers):
            await asyncio.sleep(0.005)
        assert max(came) - began < WITHIN_S
        for reader in readers:
            reader.cancel()
    assert served.edge.hub.subscribers().total() == 0
    assert open_generators() == []
