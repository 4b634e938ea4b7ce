"""A real nginx in front of another's backend, asking /v1/authorize by `auth_request`."""

import asyncio
import itertools
import textwrap
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from checks import DOOR, checking
from citadel_edge.health.verdict import ListenerState
from citadel_edge.listeners.rate_limiting import authorize
from nginx_server import nginx_serving


class Backend:
    """What is guarded. It tells who was let in, and settles what it was told to have cost."""

    def __init__(self, checks):
        self._checks = checks
        self.seen = []
        self.settles = True

    async def serve(self, request):
        self.seen.append((request.method, request.raw_path, request.headers.get("X-Citadel-User")))
        if self.settles:
            reservation = request.headers["X-Citadel-Reservation"]
            body = {"reservation": reservation, "tokens_in": 2, "tokens_out": len(await request.read())}
            assert (await self._checks("/v1/settle", body))[0] == 200
        return web.Response(text="served", status=403 if request.path == "/mine" else 200)


def documented_site(*, backend, edge):
    """The example that the module gives, in a server; its requests are taken to need ten tokens."""
    _, _, text = authorize.__doc__.partition("::\n\n")
    lines = itertools.takewhile(lambda line: not line or line.startswith("    "), text.splitlines())
    site = "\n".join(lines).replace("http://backend", backend).replace("http://127.0.0.1:9098", edge)
    site = site.replace('X-Citadel-Tokens ""', 'X-Citadel-Tokens "10"')
    return f"server {{ listen 127.0.0.1:{{port}};\n{site} }}"


def test_readme_shows_the_same_site():
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    shown = readme.partition("```nginx\n")[2].partition("```")[0]
    assert textwrap.indent(shown, "    ").rstrip() in authorize.__doc__


@asynccontextmanager
async def guarded(edge_with, directory, **limits):
    """`checks, user, backend, url`: the url is nginx's."""
    async with checking(edge_with(options=()), **limits) as (checks, user):
        backend = Backend(checks)
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", backend.serve)
        async with TestServer(app) as server:
            site = documented_site(backend=str(server.make_url("")), edge=checks.served.url("", DOOR))
            started = nginx_serving(site, directory)
            url = await asyncio.to_thread(started.__enter__)
            try:
                yield checks, user, backend, url
            finally:
                await asyncio.to_thread(started.__exit__, None, None, None)


@pytest.fixture
def nginx_dir(tmp_path):
    directory = tmp_path / "nginx"
    directory.mkdir()
    return directory


async def ask(checks, url, *, method="GET", headers=None, body=None):
    async with checks.served.client.request(method, url, headers=headers, data=body) as answer:
        return answer.status, answer.headers, await answer.text()


async def test_who_may_is_served_and_the_backend_knows_who(edge_with, nginx_dir):
    limits = {"requests_per_minute": 10, "tokens_per_day": 100}
    async with guarded(edge_with, nginx_dir, **limits) as (checks, user, backend, url):
        spoofed = {**user.bearer, "X-Citadel-User": "usr_somebody", "X-Citadel-Tokens": "99"}
        status, headers, text = await ask(checks, f"{url}/a/b?c=1", headers=spoofed)
        assert (status, text) == (200, "served")
        assert headers["RateLimit"] == '"rpm";r=9;t=6, "tokens-day";r=90;t=' + headers["RateLimit"].rpartition("=")[2]
        assert backend.seen == [("GET", "/a/b?c=1", user.id)]
        status, _, _ = await ask(checks, f"{url}/post", method="POST", headers=user.bearer, body=b"12345678")
        assert status == 200
        assert await checks.left(user, "tokens_per_day") == 100 - 2 - (2 + 8)
        rows = await checks.served.rows()
        assert [(row["endpoint"], row["tokens_out"]) for row in rows] == [("/a/b", 0), ("/post", 8)]


async def test_who_may_not_is_told_the_true_status(edge_with, nginx_dir):
    limits = {"requests_per_minute": 1, "tokens_per_day": 100}
    async with guarded(edge_with, nginx_dir, **limits) as (checks, user, backend, url):
        backend.settles = False
        for bearer in ({}, {"Authorization": "Bearer cit_test_nothing"}):
            status, headers, _ = await ask(checks, url, headers=bearer)
            assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
        gone = await checks.user("alan", "limited")
        await checks.admin("PATCH", f"/v1/users/{gone.id}", {"state": "suspended"})
        assert (await ask(checks, url, headers=gone.bearer))[0] == 403
        assert backend.seen == []
        assert (await ask(checks, url, headers=user.bearer))[0] == 200
        status, headers, text = await ask(checks, url, headers=user.bearer)
        assert (status, headers["Retry-After"], '"status":429' in text) == (429, "60", True)
        assert headers["RateLimit-Policy"] == '"rpm";q=1;w=60, "tokens-day";q=100;w=86400'
        assert headers["RateLimit"].startswith('"rpm";r=0;t=60, "tokens-day";r=90;t=')
        assert len(backend.seen) == 1


async def test_a_stopped_service_is_503_and_the_backend_s_own_403_stays_its_own(edge_with, nginx_dir):
    async with guarded(edge_with, nginx_dir, requests_per_minute=5) as (checks, user, backend, url):
        status, _, text = await ask(checks, f"{url}/mine", headers=user.bearer)
        assert (status, text) == (403, "served")
        checks.served.edge.set_state(DOOR, ListenerState.STOPPED)
        status, headers, _ = await ask(checks, url, headers=user.bearer)
        assert (status, headers["Retry-After"]) == (503, "5")
        assert len(backend.seen) == 1


async def test_what_no_backend_settles_stays_charged(edge_with, nginx_dir):
    async with guarded(edge_with, nginx_dir, tokens_per_day=100) as (checks, user, backend, url):
        backend.settles = False
        assert (await ask(checks, url, headers=user.bearer))[0] == 200
        assert await checks.left(user, "tokens_per_day") == 90
        assert await checks.served.rows() == []
