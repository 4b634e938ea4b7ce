"""What every request passes, on a whole edge over real sockets."""

import asyncio
import gzip
import json
from io import BytesIO

import pytest
from yarl import URL

from citadel_edge.config.shape import BudgetConfig, ListenerName
from citadel_edge.health.verdict import ListenerState
from citadel_edge.process.drain import drain
from citadel_edge.simulator.options import SimulatorOptions
from citadel_edge.simulator.timing import Timing

CHAT = "/v1/chat/completions"


async def test_every_route_but_the_open_ones_demands_a_key_and_a_role(edge_with):
    async with edge_with() as served:
        for name, door in served.doors.items():
            if name is ListenerName.GRAPHQL:
                continue
            async with served.client.get(f"{door.url}/openapi.json") as answer:
                paths = (await answer.json())["paths"]
            for path, operations in paths.items():
                for method, operation in operations.items():
                    await _demands(served, door.url + path.replace("{", "").replace("}", ""), method, operation)


async def _demands(served, url, method, operation):
    async with served.client.request(method, url, json={} if "requestBody" in operation else None) as answer:
        if not operation["security"]:
            assert answer.status in (200, 400), url
            return
        assert answer.status == 401, (url, method)
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    if operation["x-role"] in ("operator", "admin"):
        async with served.client.request(method, url, headers=served.as_user(), json={}) as answer:
            assert answer.status == 403, (url, method)


async def test_the_request_s_id_is_taken_over_or_made_and_always_answered(edge_with):
    async with edge_with() as served:
        for sent, kept in (("mine-123", True), ("no\tgood", False), ("x" * 129, False)):
            async with served.client.get(served.url("/v1/models"), headers={"X-Request-Id": sent}) as answer:
                assert (answer.headers["X-Request-Id"] == sent) is kept
        async with served.client.get(served.url("/nowhere")) as answer:
            assert answer.headers["X-Request-Id"].startswith("req_")
            assert (await answer.json())["request_id"] == answer.headers["X-Request-Id"]


async def test_the_trace_goes_on_upstream(edge_with):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with edge_with() as served:
        headers = {**served.as_user(), "traceparent": trace}
        async with served.client.post(served.url(CHAT), json=served.chat(), headers=headers) as answer:
            assert answer.status == 200
        line = next(line for line in served.log.getvalue().splitlines() if CHAT in line)
        assert json.loads(line)["trace_id"] == "0af7651916cd43dd8448eb211c80319c"


async def test_one_canonical_line_a_request_says_all_of_it(edge_with):
    async with edge_with() as served:
        headers = {**served.as_user(), "X-Request-Id": "line-1"}
        async with served.client.post(served.url(CHAT), json=served.chat(), headers=headers) as answer:
            usage = (await answer.json())["usage"]
        lines = [json.loads(line) for line in served.log.getvalue().splitlines() if '"line-1"' in line]
        assert len(lines) == 1
        line = lines[0]
        assert line["event"] == "request"
        assert (line["listener"], line["route"], line["status"], line["outcome"]) == ("routing-api", CHAT, 200, "done")
        assert (line["tokens_in"], line["tokens_out"]) == (usage["prompt_tokens"], usage["completion_tokens"])
        assert line["model"] == "sim-model"
        assert line["upstream"] == "sim-0"
        assert line["attempts"] == 1
        assert line["user"].startswith("usr_")
        assert line["tier"] == "free"
        assert line["cost_usd"] > 0
        assert line["duration_ms"] > 0
        assert served.keys.demo_key not in served.log.getvalue()
        assert "Say something." not in served.log.getvalue()


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b"{" + b'"a":' * 3, "application/json", 400, "invalid_request"),
        (b'{"model": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "application/json", 400, "invalid_request"),
        (b"[]", "application/json", 400, "invalid_request"),
        (b"", "application/json", 400, "invalid_request"),
        (b"\xff\xfe{}", "application/json", 400, "invalid_request"),
        (b"a=b", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        (b"x" * (8 * 2**20), "application/json", 413, "request_too_large"),
        (json.dumps({"model": "nope", "messages": []}).encode(), "application/json", 400, "invalid_request"),
        (
            json.dumps({"model": "nope", "messages": [{"role": "user", "content": "x"}]}).encode(),
            "application/json",
            404,
            "model_not_found",
        ),
    ],
)
async def test_a_bad_body_gets_a_clear_4xx_in_openai_s_shape(edge_with, body, content_type, status, code):
    async with edge_with() as served:
        headers = {**served.as_user(), "Content-Type": content_type}
        async with served.client.post(served.url(CHAT), data=BytesIO(body), headers=headers) as answer:
            error = (await answer.json())["error"]
            assert (answer.status, error["code"]) == (status, code)
            assert error["message"]
        assert served.edge.budgets[ListenerName.ROUTING].snapshot()["tasks"] == 0
        assert served.edge.budgets[ListenerName.ROUTING].snapshot()["bytes"] == 0
        async with served.client.post(served.url(CHAT), json=served.chat(), headers=served.as_user()) as answer:
            assert answer.status == 200


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "nonsense"])
async def test_a_compressed_body_is_refused_and_never_unpacked(edge_with, encoding):
    async with edge_with() as served:
        bomb = gzip.compress(b" " * 50_000_000)
        for who, status in ((served.as_user(), 415), ({}, 401)):
            headers = {**who, "Content-Type": "application/json", "Content-Encoding": encoding}
            async with served.client.post(served.url(CHAT), data=BytesIO(bomb), headers=headers) as answer:
                assert answer.status == status


async def test_a_body_in_another_charset_than_utf_8_is_refused(edge_with):
    async with edge_with() as served:
        for charset, status in (("utf-16", 415), ("latin-1", 415), ('"UTF-8"', 200), ("us-ascii", 200)):
            headers = {**served.as_user(), "Content-Type": f"application/json; charset={charset}"}
            body = json.dumps(served.chat()).encode()
            async with served.client.post(served.url(CHAT), data=BytesIO(body), headers=headers) as answer:
                assert answer.status == status, charset


async def test_a_session_whose_bytes_are_no_utf_8_is_refused_by_its_name(edge_with):
    async with edge_with() as served:
        url, body = URL(served.url(CHAT)), json.dumps(served.chat()).encode()
        head = f"POST {url.path} HTTP/1.1\r\nHost: x\r\nAuthorization: {served.as_user()['Authorization']}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
        for session, status in ((b"a\xff", 400), ("größe".encode(), 200)):
            reader, writer = await asyncio.open_connection(url.host, url.port)
            writer.write(head.encode() + b"X-Citadel-Session: " + session + b"\r\n\r\n" + body)
            answer = await reader.read()
            writer.close()
            assert answer.startswith(b"HTTP/1.1 %d " % status)
            assert (b'"param":"X-Citadel-Session"' in answer.replace(b" ", b"")) is (status == 400)


async def test_a_body_that_drips_is_refused_in_time_and_takes_no_seat(edge_with):
    async def drip():
        for _ in range(600):
            yield b" "
            await asyncio.sleep(0.05)

    async with edge_with(budget=BudgetConfig(tasks=1, queue=0)) as served:
        headers = {**served.as_user(), "Content-Type": "application/json"}
        async with asyncio.TaskGroup() as group:

            async def slow():
                async with served.client.post(served.url(CHAT), data=drip(), headers=headers) as answer:
                    return answer.status, (await answer.json())["error"]["code"]

            dripping = group.create_task(slow())
            await asyncio.sleep(0.5)
            async with served.client.post(served.url(CHAT), json=served.chat(), headers=served.as_user()) as answer:
                assert answer.status == 200
        assert dripping.result() == (408, "request_timeout")


async def test_300_at_once_with_50_seats_and_a_queue_of_100_are_answered_or_refused_exactly(edge_with):
    model = SimulatorOptions(slots=64, shortest=4, longest=4)
    async with edge_with(budget=BudgetConfig(tasks=50, queue=100, queue_timeout_s=60), options=(model,)) as served:
        held = served.edge.budgets[ListenerName.ROUTING].snapshot
        await served.simulators[0].fault("stall", after_tokens=1)

        async def ask():
            async with served.client.post(served.url(CHAT), json=served.chat(), headers=served.as_user()) as answer:
                body = await answer.json()
                if answer.status == 503:
                    assert body["error"]["code"] == "overloaded"
                    assert int(answer.headers["Retry-After"]) >= 1
                return answer.status

        async with asyncio.TaskGroup() as clients:
            requests = [clients.create_task(ask()) for _ in range(300)]
            async with asyncio.timeout(60):
                while sum(request.done() for request in requests) < 150:
                    await asyncio.sleep(0.05)
            assert (held()["tasks"], held()["queued"], held()["shed"]["queue_full"]) == (50, 100, 150)
            await served.simulators[0].lift()
        statuses = [request.result() for request in requests]
        assert (statuses.count(200), statuses.count(503)) == (150, 150)
        assert (held()["tasks"], held()["queued"], held()["bytes"]) == (0, 0, 0)
        assert served.edge.fleet.table.rows["sim-0"].in_flight == 0


async def test_those_who_queue_too_long_are_refused_in_time(edge_with):
    async with edge_with(budget=BudgetConfig(tasks=1, queue=5, queue_timeout_s=0.3)) as served:
        await served.simulators[0].fault("stall", after_tokens=1)

        async def ask():
            async with served.client.post(served.url(CHAT), json=served.chat(), headers=served.as_user()) as answer:
                return answer.status

        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as clients:
            began = loop.time()
            requests = [clients.create_task(ask()) for _ in range(6)]
            async with asyncio.timeout(10):
                while sum(request.done() for request in requests) < 5:
                    await asyncio.sleep(0.02)
            assert 0.3 <= loop.time() - began < 3
            await served.simulators[0].lift()
        assert sorted(request.result() for request in requests) == [200, 503, 503, 503, 503, 503]


async def test_health_and_metrics_answer_while_every_seat_is_taken(edge_with):
    slow = SimulatorOptions(timing=Timing(prefill_ms=1), faults=())
    async with edge_with(budget=BudgetConfig(tasks=1, queue=0), options=(slow,)) as served:
        await served.simulators[0].fault("stall", after_tokens=1)
        stuck = await served.client.post(served.url(CHAT), json=served.chat(stream=True), headers=served.as_user())
        await stuck.content.readany()
        async with served.client.post(served.url(CHAT), json=served.chat(), headers=served.as_user()) as answer:
            assert answer.status == 503
        for path in ("/health", "/health/live", "/health/ready", "/health/all", "/metrics"):
            async with served.client.get(served.url(path)) as answer:
                assert answer.status == 200
        stuck.close()


async def test_a_drain_ends_what_does_not_finish_in_words_and_within_the_grace(edge_with):
    async with edge_with() as served:
        await served.simulators[0].fault("stall", after_tokens=2)
        async with asyncio.TaskGroup() as clients:
            stream = await served.client.post(served.url(CHAT), json=served.chat(stream=True), headers=served.as_user())
            await stream.content.readany()
            whole = clients.create_task(_status_and_body(served))
            async with asyncio.timeout(10):
                while served.edge.fleet.table.rows["sim-0"].in_flight < 2:
                    await asyncio.sleep(0.02)
            loop = asyncio.get_running_loop()
            began = loop.time()
            await drain(served.edge, list(served.doors.values()), 2.0)
            assert loop.time() - began < 2.0 + 1.0
            rest = (await stream.read()).decode()
        assert '"code":"listener_stopped"' in rest
        assert "[DONE]" not in rest
        assert whole.result() == (503, "listener_stopped")
        assert [row["outcome"] for row in await served.rows()] == ["cancelled", "cancelled"]


async def _status_and_body(served):
    async with served.client.post(served.url(CHAT), json=served.chat(), headers=served.as_user()) as answer:
        return answer.status, (await answer.json())["error"]["code"]


async def test_a_stopped_listener_keeps_its_port_and_says_so(edge_with):
    async with edge_with() as served:
        served.edge.set_state(ListenerName.ROUTING, ListenerState.STOPPED)
        async with served.client.get(served.url("/v1/models"), headers=served.as_user()) as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (503, "listener_stopped")
            assert "Retry-After" in answer.headers
        async with served.client.get(served.url("/metrics")) as answer:
            assert answer.status == 200
        async with served.client.get(served.url("/health/ready")) as answer:
            assert answer.status == 503
        async with served.client.get(served.url("/health", ListenerName.STREAMING)) as answer:
            assert answer.status == 200
        served.edge.set_state(ListenerName.ROUTING, ListenerState.RUNNING)
        async with served.client.get(served.url("/v1/models"), headers=served.as_user()) as answer:
            assert answer.status == 200


async def test_a_family_of_metrics_lives_on_one_port_alone(edge_with):
    async with edge_with() as served:
        owners = {}
        for name in ListenerName:
            async with served.client.get(served.url("/metrics", name)) as answer:
                text = await answer.text()
            for line in text.splitlines():
                if line.startswith("# TYPE "):
                    owners.setdefault(line.split()[2], []).append(name)
        assert owners
        assert [family for family, ports in owners.items() if len(ports) > 1] == []
        assert owners["citadel_listener_tasks"] == [ListenerName.ROUTING]
        assert owners["citadel_graphql_operations_total"] == [ListenerName.GRAPHQL]
        assert owners["citadel_streaming_connections"] == [ListenerName.STREAMING]
        assert owners["citadel_accounts_changes_total"] == [ListenerName.RATE_LIMITING]
