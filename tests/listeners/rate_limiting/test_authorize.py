"""A gateway's question about its client's own request: the answers that nginx and Envoy go by."""

import asyncio

import pytest

from checks import DOOR, checking
from citadel_edge.health.verdict import ListenerState
from edges import MODEL

METHODS = "GET POST PUT PATCH DELETE OPTIONS HEAD PROPFIND".split()


async def ask(checks, path="", *, method="GET", bearer=None, **headers):
    """Status, headers and body of an authorisation."""
    url = checks.served.url(f"/v1/authorize{path}", DOOR)
    sent = {**(bearer or {}), **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with checks.served.client.request(method, url, headers=sent) as answer:
        return answer.status, answer.headers, await answer.read()


async def test_who_it_is_and_what_is_left(edge_with):
    async with checking(edge_with(options=()), requests_per_minute=60, tokens_per_minute=1000) as (checks, user):
        status, headers, body = await ask(checks, "?tokens=300", bearer=user.bearer)
        assert (status, body, headers["Content-Length"]) == (200, b"", "0")
        organisation = (await checks.admin("GET", f"/v1/users/{user.id}"))["organisation_id"]
        identity = {name: headers[f"X-Citadel-{name}"] for name in ("User", "Organisation", "Tier", "Role")}
        assert identity == {"User": user.id, "Organisation": organisation, "Tier": "limited", "Role": "user"}
        assert headers["X-Citadel-Reservation"].startswith("res_")
        assert headers["RateLimit"] == '"rpm";r=59;t=1, "tpm";r=700;t=18'
        assert headers["x-ratelimit-remaining-tokens"] == "700"
        assert "Retry-After" not in headers


async def test_every_method_gets_the_same_answer_behind_every_path(edge_with):
    async with checking(edge_with(options=()), requests_per_minute=len(METHODS)) as (checks, _):
        for n, path in enumerate(("", "/", "/v1/chat/completions", "/a/b?model=%00&tokens=x&deny=403")):
            user = await checks.user(f"user-{n}", "limited")
            for left, method in reversed(list(enumerate(METHODS))):
                status, headers, body = await ask(checks, path, method=method, bearer=user.bearer)
                assert (status, body, headers["X-Citadel-User"]) == (200, b"", user.id), (path, method)
                assert headers["x-ratelimit-remaining-requests"] == str(left)
            for method in METHODS:
                status, headers, _ = await ask(checks, path, method=method, bearer=user.bearer)
                assert (status, headers["X-Citadel-Status"], "Retry-After" in headers) == (429, "429", True)


async def test_what_nginx_cannot_relay_is_a_403_that_names_its_status(edge_with):
    async with checking(edge_with(options=()), requests_per_minute=1) as (checks, user):
        assert (await ask(checks, "?deny=403", bearer=user.bearer))[0] == 200
        for path, status in (("?deny=403", 403), ("", 429)):
            got, headers, body = await ask(checks, path, bearer=user.bearer)
            assert (got, headers["X-Citadel-Status"], headers["Retry-After"]) == (status, "429", "60")
            assert headers["RateLimit-Policy"] == '"rpm";q=1;w=60'
            assert headers["Content-Type"] == "application/problem+json"
            assert f'"status":{status}'.encode() in body
            assert b'"code":"rate_limit_exceeded"' in body
        (row,) = await checks.served.rows()
        assert (row["outcome"], row["count"], row["endpoint"]) == ("denied", 2, "/v1/authorize")


async def test_who_has_no_key_is_401_whatever_the_gateway_relays(edge_with):
    async with checking(edge_with(options=())) as (checks, _):
        for path in ("", "?deny=403", "/any/path"):
            for bearer in ({}, {"Authorization": "Bearer cit_test_nothing"}, {"Authorization": "Basic YTpi"}):
                status, headers, _ = await ask(checks, path, bearer=bearer)
                assert (status, headers["WWW-Authenticate"], headers["X-Citadel-Status"]) == (401, "Bearer", "401")


async def test_who_is_suspended_or_asks_for_another_model_is_403(edge_with):
    async with checking(edge_with(), models=[MODEL], requests_per_minute=9) as (checks, user):
        gone = await checks.user("alan", "limited")
        await checks.admin("PATCH", f"/v1/users/{gone.id}", {"state": "suspended"})
        for path in ("", "?deny=403"):
            status, headers, body = await ask(checks, path, bearer=gone.bearer)
            assert (status, headers["X-Citadel-Status"], b'"suspended"' in body) == (403, "403", True)
            status, _, body = await ask(checks, path, bearer=user.bearer, X_Citadel_Model="large")
            assert (status, b'"model_not_allowed"' in body) == (403, True)
        status, headers, _ = await ask(checks, bearer=user.bearer, X_Citadel_Model="sim-alias")
        assert (status, headers["x-ratelimit-remaining-requests"]) == (200, "8")


async def test_model_and_tokens_come_from_the_query_before_the_headers(edge_with):
    limits = {"tokens_per_day": 1000, "by_model": {"small": {"tokens_per_day": 100}}}
    async with checking(edge_with(options=()), **limits) as (checks, user):
        remain = await remaining(checks, user, X_Citadel_Model="small", X_Citadel_Tokens="60")
        assert remain == 40
        assert await remaining(checks, user, "?tokens=30", X_Citadel_Model="small", X_Citadel_Tokens="9999") == 10
        assert await remaining(checks, user, "?model=other", X_Citadel_Model="small", X_Citadel_Tokens="10") == 900
        for wrong in ("-1", "1.5", "x", "1" * 13, "\u0663"):
            status, headers, body = await ask(checks, f"?tokens={wrong}", bearer=user.bearer)
            assert (status, b'"param":"tokens"' in body) == (400, True)
            status, headers, _ = await ask(checks, f"?deny=403&tokens={wrong}", bearer=user.bearer)
            assert (status, headers["X-Citadel-Status"]) == (403, "400")
        status, _, body = await ask(checks, "?tokens=1001", bearer=user.bearer)
        assert (status, b'"request_too_large"' in body) == (400, True)
        assert (await ask(checks, f"?model={300 * 'x'}", bearer=user.bearer))[0] == 400


async def remaining(checks, user, path="", **headers):
    status, headers, _ = await ask(checks, path, bearer=user.bearer, **headers)
    assert status == 200
    return int(headers["RateLimit"].partition("r=")[2].partition(";")[0])


@pytest.mark.parametrize(
    "spelling",
    [
        "/v1/images?x=1",
        "/v1/%69mages",
        "//v1/images",
        "/v1/x/../images",
        "/v1/./images/",
        "/v1/images#",
        "/v1/images%20",
    ],
)
async def test_an_endpoint_s_limit_is_one_of_all_its_spellings(edge_with, spelling):
    limits = {"requests_per_minute": 100, "by_endpoint": {"/v1/images": {"requests_per_minute": 0}}}
    async with checking(edge_with(options=()), **limits) as (checks, user):
        assert (await ask(checks, bearer=user.bearer, X_Original_URI=spelling))[0] == 429


async def test_an_endpoint_s_own_limit_counts_by_the_original_path(edge_with):
    limits = {"requests_per_minute": 100, "by_endpoint": {"/v1/images": {"requests_per_minute": 3}}}
    async with checking(edge_with(options=()), **limits) as (checks, user):
        assert await remaining(checks, user, X_Original_URI="/v1/images?size=4") == 2
        assert await remaining(checks, user, X_Envoy_Original_Path="/v1/images") == 1
        assert await remaining(checks, user, "/v1/images?n=1", X_Original_URI="/free") == 0
        assert (await ask(checks, "/v1/images", bearer=user.bearer))[0] == 429
        assert await remaining(checks, user, X_Original_URI="v1/images") == 96


ODD_PATHS = ["", "/%ff/%00", "//a//../b?%ff"]
ODD_HEADERS = ["x-original-uri: /caf\xe9\xff?x", "upgrade: websocket\r\nconnection: upgrade", "x-citadel-model: m"]


async def test_no_text_of_a_client_breaks_it(edge_with):
    async with checking(edge_with(options=()), requests_per_minute=60) as (checks, user):

        async def status(path, header):
            head = f"GET /v1/authorize{path} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {user.key}\r\n"
            (answer,) = await conversation(checks, [f"{head}{header}\r\n\r\n"])
            return int(answer.split(" ")[1])

        for path in ODD_PATHS:
            for header in ODD_HEADERS:
                assert await status(path, header) == 200, (path, header)
        assert await status("", "x-citadel-model: \xff") == 400
        assert await status("", "x-citadel-tokens: \xb2") == 400


async def test_it_takes_no_lease_and_may_be_settled(edge_with):
    async with checking(edge_with(options=()), concurrent=1, tokens_per_day=100) as (checks, user):
        first = await ask(checks, "?tokens=60", bearer=user.bearer, X_Original_URI="/v1/x?y=1")
        assert (first[0], (await ask(checks, bearer=user.bearer))[0]) == (200, 200)
        assert await checks.left(user, "concurrent") == 1
        body = {"reservation": first[1]["X-Citadel-Reservation"], "tokens_in": 4, "tokens_out": 6}
        assert (await checks("/v1/settle", body))[0] == 200
        assert await checks.left(user, "tokens_per_day") == 90
        (row,) = await checks.served.rows()
        assert (row["endpoint"], row["tokens_out"], row["user_id"]) == ("/v1/x", 6, user.id)


async def test_a_stopped_listener_is_told_as_nginx_can_relay_it(edge_with):
    async with checking(edge_with(options=())) as (checks, user):
        checks.served.edge.set_state(DOOR, ListenerState.STOPPED)
        for path, status in (("", 503), ("?deny=403", 403)):
            got, headers, _ = await ask(checks, path, bearer=user.bearer)
            assert (got, headers["X-Citadel-Status"], headers["Retry-After"]) == (status, "503", "5")


async def test_envoy_asks_with_the_client_s_own_request(edge_with):
    """As ext_authz does over HTTP with `path_prefix: /v1/authorize`: the client's method, path, host; no body."""
    async with checking(edge_with(options=()), requests_per_minute=2) as (checks, user):
        request = (
            "POST /v1/authorize/v1/chat/completions?stream=1 HTTP/1.1\r\n"
            "host: models.example.com\r\n"
            "content-length: 0\r\n"
            f"authorization: Bearer {user.key}\r\n"
            "x-forwarded-for: 10.1.2.3\r\n"
            "x-forwarded-proto: https\r\n"
            "x-envoy-expected-rq-timeout-ms: 200\r\n"
            "x-request-id: 8f9f1b0c-4b7f-4a55-a7a6-4d0f3a4b4d7e\r\n\r\n"
        )
        answers = await conversation(checks, 3 * [request])
        assert [answer.partition("\r\n")[0] for answer in answers] == [
            "HTTP/1.1 200 OK",
            "HTTP/1.1 200 OK",
            "HTTP/1.1 429 Too Many Requests",
        ]
        assert f"X-Citadel-User: {user.id}\r\n" in answers[0]
        assert "X-Request-Id: 8f9f1b0c-4b7f-4a55-a7a6-4d0f3a4b4d7e\r\n" in answers[0]
        assert "Retry-After: 30\r\n" in answers[2]


async def conversation(checks, requests):
    """Request after request on one connection; each answer whole, as text."""
    reader, writer = await asyncio.open_connection(*checks.served.doors[DOOR].address)
    answers = []
    for request in requests:
        writer.write(request.encode("latin-1"))
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).decode()
        length = next(line.partition(":")[2] for line in head.split("\r\n") if line.startswith("Content-Length:"))
        answers.append(head + (await reader.readexactly(int(length))).decode())
    writer.close()
    await writer.wait_closed()
    return answers


async def test_a_body_that_comes_along_is_not_read(edge_with):
    async with checking(edge_with(options=())) as (checks, user):
        url = checks.served.url("/v1/authorize/v1/upload", DOOR)
        for body in (b"x" * 100_000, b"{not json"):
            async with checks.served.client.put(url, data=body, headers=user.bearer) as answer:
                assert answer.status == 200


async def test_the_document_has_every_method(edge_with):
    async with checking(edge_with(options=())) as (checks, _):
        document = await checks.admin("GET", "/openapi.json")
        for path in ("/v1/authorize", "/v1/authorize/{tail}"):
            assert document["paths"][path].keys() == set("get put post delete options head patch trace".split())
        ids = [each["operationId"] for path in document["paths"].values() for each in path.values()]
        assert len(set(ids)) == len(ids)
