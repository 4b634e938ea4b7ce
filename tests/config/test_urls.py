"""Which addresses are understood, and what they point at."""

from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.config.addresses import Address
from citadel_edge.config.shape import PostgresConfig, RedisConfig, Secret
from citadel_edge.config.urls import (
    PostgresKind,
    RedisKind,
    RedisTarget,
    check_host,
    check_http_url,
    check_postgres_dsn,
    check_redis_url,
    postgres_target,
    redis_target,
)

BESIDE = RedisConfig(username="beside", password=Secret("beside-pw"))


def redis(url: str, **fields: object) -> RedisTarget:
    return redis_target(RedisConfig(url=url, **fields))  # type: ignore[arg-type]


def secret(value: Secret | None) -> str | None:
    return None if value is None else value.get_secret_value()


@pytest.mark.parametrize(
    ("url", "kind", "nodes", "db", "tls"),
    [
        ("embedded", RedisKind.EMBEDDED, [], 0, False),
        ("redis://h", RedisKind.TCP, [("h", 6379)], 0, False),
        ("redis://10.0.0.38:6380/3", RedisKind.TCP, [("10.0.0.38", 6380)], 3, False),
        ("redis://h:1?db=4", RedisKind.TCP, [("h", 1)], 4, False),
        ("rediss://[::1]:6380", RedisKind.TCP, [("::1", 6380)], 0, True),
        ("10.0.0.38:6379", RedisKind.TCP, [("10.0.0.38", 6379)], 0, False),
        ("[::1]:6379", RedisKind.TCP, [("::1", 6379)], 0, False),
        ("redis+sentinel://a:1,b,c:3/main", RedisKind.SENTINEL, [("a", 1), ("b", 26379), ("c", 3)], 0, False),
        ("rediss+sentinel://a:1/main/2", RedisKind.SENTINEL, [("a", 1)], 2, True),
        ("redis+cluster://a:1,b", RedisKind.CLUSTER, [("a", 1), ("b", 6379)], 0, False),
        ("rediss+cluster://a:1/", RedisKind.CLUSTER, [("a", 1)], 0, True),
    ],
)
def test_the_forms_of_redis(url, kind, nodes, db, tls):
    assert check_redis_url(url) == url
    target = redis(url)
    assert (target.kind, target.nodes, target.db, target.tls) == (
        kind,
        tuple(Address(*node) for node in nodes),
        db,
        tls,
    )
    assert (target.host, target.port) == (nodes[0] if nodes else (None, None))
    assert (target.user, target.password) == (None, None)


def test_a_redis_socket():
    target = redis("unix://me:p%40ss@/run/redis.sock?db=2")
    assert (target.kind, target.path, target.db) == (RedisKind.UNIX, Path("/run/redis.sock"), 2)
    assert (target.user, secret(target.password)) == ("me", "p@ss")
    assert target.label == "unix:///run/redis.sock"


def test_the_master_of_sentinels():
    target = redis("redis+sentinel://:pw@a:1,b:2/main")
    assert (target.master, target.user, secret(target.password)) == ("main", None, "pw")
    assert target.label == "a:1,b:2/main"


def test_how_a_redis_certificate_is_checked():
    assert redis("rediss://h").verify
    target = redis("rediss://h?ssl_ca_certs=/etc/ca.pem&ssl_cert_reqs=none")
    assert (target.verify, target.ca_file) == (False, Path("/etc/ca.pem"))


def test_user_and_password_of_the_url_win_over_those_beside_it():
    beside = {"username": "beside", "password": Secret("beside-pw")}
    for url in ("h:1", "redis://h", "unix:///s", "redis+cluster://h"):
        target = redis(url, **beside)
        assert (target.user, secret(target.password)) == ("beside", "beside-pw")
    target = redis("redis://me:mine@h", **beside)
    assert (target.user, secret(target.password)) == ("me", "mine")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "gpu-a",
        "embeded",
        "redis://",
        "redis://a,b",
        "redis://h:0",
        "redis://h:65536",
        "redis://h/x",
        "redis://h/1/2",
        "redis://h?nope=1",
        "redis://h#1",
        "redis://h/1@x",
        "redis+sentinel://a:1",
        "redis+sentinel://a:1/m/1/2",
        "redis+cluster://a:1/1",
        "redis+cluster://a:1?db=1",
        "unix://",
        "unix://host/path",
        "http://h",
        "h:1:2",
        "::1:6379",
        "re dis://h",
        "redis://[::1",
        "redis://h?ssl_cert_reqs=maybe",
    ],
)
def test_what_is_no_redis(url):
    with pytest.raises(ValueError, match=r"^expected "):
        check_redis_url(url)


@pytest.mark.parametrize(
    ("dsn", "kind", "nodes", "user", "db"),
    [
        ("embedded", PostgresKind.EMBEDDED, [], None, "citadel"),
        ("10.0.0.35:5432", PostgresKind.TCP, [("10.0.0.35", 5432)], "beside", "citadel"),
        ("postgresql://h", PostgresKind.TCP, [("h", 5432)], "beside", "citadel"),
        ("postgres://me@a,b:2/own", PostgresKind.TCP, [("a", 5432), ("b", 2)], "me", "own"),
        ("postgresql:///own?host=/run/pg", PostgresKind.UNIX, [], "beside", "own"),
        ("postgresql://me@/own?host=/run/pg", PostgresKind.UNIX, [], "me", "own"),
    ],
)
def test_the_forms_of_postgres(dsn, kind, nodes, user, db):
    assert check_postgres_dsn(dsn) == dsn
    target = postgres_target(PostgresConfig(dsn=dsn, user=None if kind is PostgresKind.EMBEDDED else "beside"))
    assert (target.kind, target.nodes) == (kind, tuple(Address(*node) for node in nodes))
    assert (target.user, target.db) == (user, db)


def test_a_postgres_dsn_is_written_whole_for_the_driver():
    config = PostgresConfig(dsn="10.0.0.35:5432", user="me@x", password=Secret("p/w"), database="d b")
    assert postgres_target(config).dsn.get_secret_value() == "postgresql://me%40x:p%2Fw@10.0.0.35:5432/d%20b"
    config = PostgresConfig(dsn="postgresql://u:p@[::1]:1,h/d?sslmode=require")
    assert postgres_target(config).dsn.get_secret_value() == "postgresql://u:p@[::1]:1,h:5432/d?sslmode=require"
    config = PostgresConfig(dsn="postgresql://u@/d?host=/run/pg")
    target = postgres_target(config)
    assert target.dsn.get_secret_value() == "postgresql://u@/d?host=%2Frun%2Fpg"
    assert (target.host, target.label) == ("/run/pg", "unix:/run/pg/d")


@pytest.mark.parametrize(
    "dsn",
    [
        "",
        "gpu-a",
        "mysql://h",
        "postgresql://",
        "postgresql:///d",
        "postgresql://h:x",
        "postgresql://h?host=/run",
        "postgresql:///d?host=run",
        "postgresql://h?password=x",
        "postgresql://u:1/2@h/d",
    ],
)
def test_what_is_no_postgres(dsn):
    with pytest.raises(ValueError, match=r"^expected "):
        check_postgres_dsn(dsn)


@pytest.mark.parametrize("url", ["http://h", "https://h:8443", "http://[::1]:8000", "http://10.0.0.1:8000/base"])
def test_what_is_an_http_url(url):
    assert check_http_url(url) == url
    assert check_http_url(f"{url}/") == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "gpu-a",
        "http://",
        "http:/h",
        "ftp://h",
        "http://u:p@h",
        "http://h:99999",
        "http://h?a",
        "http://h h",
        "http://h/#x",
    ],
)
def test_what_is_no_http_url(url):
    with pytest.raises(ValueError, match=r"^expected "):
        check_http_url(url)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0", "::", "localhost", "gpu-a.rack_2.internal", "a"])
def test_what_is_a_host(host):
    assert check_host(host) == host


@pytest.mark.parametrize(
    "host", ["", "1.2.3", "256.0.0.1", "[::1]", "a:80", "a b", "-a", "a..b", "http://a", "a" * 300]
)
def test_what_is_no_host(host):
    with pytest.raises(ValueError, match=r"^expected "):
        check_host(host)


@given(st.text(max_size=60) | st.from_regex(r"(redis|unix|postgresql|redis\+sentinel|http)://\S{0,30}", fullmatch=True))
def test_any_text_is_an_address_or_a_value_error(text):
    for check in (check_redis_url, check_postgres_dsn, check_http_url, check_host):
        assert refusal(check, text).partition(" ")[0] in ("", "expected")


DATABASES = (check_redis_url, check_postgres_dsn)
WORD = st.from_regex(r"[a-z]{6,12}", fullmatch=True)


@given(WORD, st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), max_size=4), WORD)
def test_no_error_of_a_database_url_quotes_what_may_be_the_password(start, middle, end):
    password = f"{start}{middle}{end}"
    # With an `@` and nothing behind it, what follows the `@` is the host to every reader.
    tails = ["@host/a/b/c", "@host:x", *([""] if "@" not in password else [])]
    for scheme, tail in product(("redis", "rediss", "unix", "redis+sentinel", "redis+cluster", "postgresql"), tails):
        for url, check in product((f"{scheme}://user:{password}{tail}", f"{scheme}://:{password}{tail}"), DATABASES):
            sentence = refusal(check, url).replace("expected", "")
            assert start not in sentence
            assert end not in sentence


def refusal(check: Callable[[str], str], text: str) -> str:
    """The sentence of the error, or nothing where there is none."""
    try:
        check(text)
    except ValueError as error:
        return str(error)
    return ""
