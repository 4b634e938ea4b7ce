"""The playground over HTTP: who gets it, as what, how long browsers keep it, and what the page may do."""

import asyncio
import gzip

import aiohttp
import pytest

from citadel_edge.config.graphql import GraphQLConfig
from citadel_edge.config.shape import Config, ListenerName
from citadel_edge.listeners.graphql.opening import routes_of
from citadel_edge.listeners.graphql.playground.files import read_examples, read_playground

GRAPH = ListenerName.GRAPHQL
PLAIN = {"Accept-Encoding": "identity"}


@pytest.fixture(scope="module")
def playground():
    return read_playground()


@pytest.fixture
async def served(edge_with):
    async with edge_with(options=()) as served:
        yield served


async def get(served, path, **headers):
    async with served.client.get(served.url(path, GRAPH), headers=headers) as answer:
        return answer, await answer.read()


async def test_the_page_is_for_everybody_and_speaks_with_nobody_else(served, playground):
    answer, body = await get(served, "/")
    assert (answer.status, answer.content_type, body) == (200, "text/html", playground.page)
    policy = dict(each.split(" ", 1) for each in answer.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in str(policy)
    assert "://" not in str(policy)
    assert "*" not in str(policy)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-cache"


async def test_files_have_their_types_and_are_kept_for_good(served, playground):
    types = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    for name, file in playground.files.items():
        answer, body = await get(served, f"{playground.folder}/{name}", **PLAIN)
        assert (answer.status, body) == (200, file.content)
        assert answer.content_type == types["." + name.rpartition(".")[2]]
        assert answer.charset == "utf-8"
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_file_is_packed_for_who_takes_it(served, playground):
    content = playground.files["graphiql.min.js"].content
    async with aiohttp.ClientSession(auto_decompress=False) as client:
        for accepts in ("gzip, deflate, br", "br, GZIP;q=0.5", "gzip;q=0", "br", "identity"):
            answer = await client.get(
                served.url(f"{playground.folder}/graphiql.min.js", GRAPH), headers={"Accept-Encoding": accepts}
            )
            body, packed = await answer.read(), accepts in {"gzip, deflate, br", "br, GZIP;q=0.5"}
            assert answer.headers["Vary"] == "Accept-Encoding"
            assert answer.headers.get("Content-Encoding") == ("gzip" if packed else None)
            assert (gzip.decompress(body) if packed else body) == content
            assert len(body) < len(content) / 3 or not packed


async def test_who_has_it_already_is_told_so(served, playground):
    for path in ("/", f"{playground.folder}/playground.js"):
        answer, _ = await get(served, path)
        tag, kept = answer.headers["ETag"], answer.headers["Cache-Control"]
        for known in (tag, f'"other", {tag}', "*"):
            answer, body = await get(served, path, **{"If-None-Match": known})
            assert (answer.status, body, answer.headers["ETag"]) == (304, b"", tag)
            assert answer.headers["Cache-Control"] == kept
        answer, _ = await get(served, path, **{"If-None-Match": '"other"'})
        assert answer.status == 200


async def test_other_paths_are_404(served, playground):
    for path in (
        f"{playground.folder}/nothing.js",
        f"{playground.folder}/page.html",
        f"{playground.folder}/..%2Fpage.html",
        "/playground/0000000000000000/playground.js",
        "/playground",
        "/favicon.ico",
    ):
        answer, _ = await get(served, path)
        assert (answer.status, answer.content_type) == (404, "application/problem+json")


async def test_it_is_gone_where_the_configuration_says_so(edge_with, playground):
    async with edge_with(options=(), changes={"graphql": GraphQLConfig(playground=False)}) as served:
        for path in ("/", f"{playground.folder}/playground.js"):
            answer, _ = await get(served, path)
            assert answer.status == 404


@pytest.mark.parametrize(
    ("environment", "configured", "there"),
    [
        ("development", None, True),
        ("staging", None, True),
        ("production", None, False),
        ("production", True, True),
        ("development", False, False),
    ],
)
def test_production_has_none_unless_it_is_asked_for(environment, configured, there):
    config = Config(environment=environment, graphql=GraphQLConfig(playground=configured))
    assert ("/" in {route.path for route in routes_of(config, "")}) is there


async def test_each_example_is_answered(edge_with):
    asked = [each for each in await asyncio.to_thread(read_examples) if "subscription" not in each]
    async with edge_with() as served:
        for example in asked:
            async with served.client.post(
                served.url("/graphql", GRAPH), json={"query": example}, headers=served.as_user()
            ) as answer:
                body = await answer.json()
                assert (answer.status, "errors" in body) == (200, False), body
    assert len(asked) == 5
