"""The URLs a configuration may hold. Pure.

Decides which forms of Redis, PostgreSQL and HTTP addresses are understood, and where user and password come from: the
URL first, then the fields beside it. Refuses to know how one connects. Errors are `ValueError` with a sentence for the
operator that never quotes a password.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from pydantic import SecretStr

from citadel_edge.config.addresses import Authority, is_host, masked, parse_address, parse_authority, shown
from citadel_edge.config.targets import PostgresKind, PostgresTarget, RedisKind, RedisTarget

__all__ = [
    "EMBEDDED",
    "PostgresKind",
    "PostgresTarget",
    "RedisKind",
    "RedisTarget",
    "check_host",
    "check_http_url",
    "check_postgres_dsn",
    "check_redis_url",
    "postgres_target",
    "redis_target",
]

EMBEDDED = "embedded"
REDIS_PORT = 6379
SENTINEL_PORT = 26379
POSTGRES_PORT = 5432
_REDIS_FORMS = (
    "'embedded', redis://, rediss://, unix://, redis+sentinel://host:port,host:port/master, "
    "redis+cluster://host:port,host:port or host:port"
)
_POSTGRES_FORMS = "'embedded', postgresql://user:password@host:port/database or host:port"
_REDIS_OPTIONS = ("db", "ssl_ca_certs", "ssl_cert_reqs")
_REDIS_SCHEMES = {
    "redis": RedisKind.TCP,
    "rediss": RedisKind.TCP,
    "redis+sentinel": RedisKind.SENTINEL,
    "rediss+sentinel": RedisKind.SENTINEL,
    "redis+cluster": RedisKind.CLUSTER,
    "rediss+cluster": RedisKind.CLUSTER,
}


@dataclass(frozen=True, slots=True)
class _Fields:
    """User and password that stand beside a URL, or nowhere."""

    user: str | None = None
    password: SecretStr | None = None
    database: str = "citadel"


class RedisFields(Protocol):
    """What of `shape.RedisConfig` says where Redis is."""

    @property
    def url(self) -> str: ...
    @property
    def username(self) -> str | None: ...
    @property
    def password(self) -> SecretStr | None: ...


class PostgresFields(Protocol):
    """What of `shape.PostgresConfig` says where PostgreSQL is."""

    @property
    def dsn(self) -> str: ...
    @property
    def user(self) -> str | None: ...
    @property
    def password(self) -> SecretStr | None: ...
    @property
    def database(self) -> str: ...


def check_host(text: str) -> str:
    """A host name or IP address to bind, without a port."""
    if not is_host(text):
        raise ValueError(f"expected an IP address or host name without a port, got {shown(text)}")
    return text


def check_http_url(text: str) -> str:
    """An http(s) URL without credentials, query or fragment; answers it without a trailing slash."""
    parts = _split(text)
    if parts is None or parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError(f"expected an http(s) URL, got {shown(text)}")
    if "@" in parts.netloc:
        raise ValueError(f"expected an http(s) URL without user and password, got {shown(text)}")
    if parts.query or parts.fragment:
        raise ValueError(f"expected an http(s) URL without query and fragment, got {shown(text)}")
    parse_address(parts.netloc, default_port=80)
    return text.rstrip("/")


def check_redis_url(text: str) -> str:
    """One of the forms Redis is reached by, unchanged."""
    _parse_redis(text, _Fields())
    return text


def check_postgres_dsn(text: str) -> str:
    """One of the forms PostgreSQL is reached by, unchanged."""
    _parse_postgres(text, _Fields())
    return text


def redis_target(config: RedisFields) -> RedisTarget:
    """Where Redis is. User and password of the URL win over the fields beside it."""
    return _parse_redis(config.url, _Fields(config.username, config.password))


def postgres_target(config: PostgresFields) -> PostgresTarget:
    """Where PostgreSQL is. What the DSN says wins over the fields beside it."""
    return _parse_postgres(config.dsn, _Fields(config.user, config.password, config.database))


def _split(text: str) -> SplitResult | None:
    """The parts of a URL; None where the standard library finds none, or white space hides in it."""
    if any(character.isspace() or not character.isprintable() for character in text):
        return None
    try:
        return urlsplit(text)
    except ValueError:
        return None


def _database_url(text: str, schemes: Collection[str], forms: str) -> SplitResult:
    """The parts of a URL with one of the schemes. An `@` behind the hosts means a password was not percent-encoded."""
    parts = _split(text)
    if parts is None or parts.scheme not in schemes:
        raise ValueError(f"expected {forms}, got {masked(text)}")
    if parts.fragment or "@" in parts.path or "@" in parts.query:
        raise ValueError(f"expected '#', '/', '?' and '@' in a password percent-encoded, got {masked(text)}")
    return parts


def _authority(text: str, authority: str, default_port: int) -> Authority:
    try:
        return parse_authority(authority, default_port=default_port)
    except ValueError:
        # The parser's own sentence quotes a piece, and of a malformed URL any piece may be the password.
        raise ValueError(f"expected host:port after the scheme, ports from 1 to 65535, got {masked(text)}") from None


def _parse_redis(text: str, beside: _Fields) -> RedisTarget:
    if text == EMBEDDED:
        return RedisTarget(kind=RedisKind.EMBEDDED)
    if "://" not in text:
        return _bare_redis(text, beside)
    parts = _database_url(text, (*_REDIS_SCHEMES, "unix"), _REDIS_FORMS)
    return _redis_socket(text, parts, beside) if parts.scheme == "unix" else _redis_network(text, parts, beside)


def _bare_redis(text: str, beside: _Fields) -> RedisTarget:
    try:
        node = parse_address(text, default_port=None)
    except ValueError:
        raise ValueError(f"expected {_REDIS_FORMS}, got {masked(text)}") from None
    return RedisTarget(kind=RedisKind.TCP, nodes=(node,), user=beside.user, password=beside.password)


def _redis_socket(text: str, parts: SplitResult, beside: _Fields) -> RedisTarget:
    options = _redis_options(text, parts.query)
    user, colon, password = parts.netloc.rpartition("@")[0].partition(":")
    if not parts.path or (parts.netloc and not parts.netloc.endswith("@")):
        raise ValueError(f"expected unix:///path/to/socket, got {masked(text)}")
    return RedisTarget(
        kind=RedisKind.UNIX,
        path=Path(unquote(parts.path)),
        user=unquote(user) or beside.user,
        password=SecretStr(unquote(password)) if colon and password else beside.password,
        db=_database_number(text, options.get("db", "")),
    )


def _redis_network(text: str, parts: SplitResult, beside: _Fields) -> RedisTarget:
    kind = _REDIS_SCHEMES[parts.scheme]
    options = _redis_options(text, parts.query)
    authority = _authority(text, parts.netloc, SENTINEL_PORT if kind is RedisKind.SENTINEL else REDIS_PORT)
    master, database = _redis_path(text, kind, parts.path)
    db = _database_number(text, database or options.get("db", ""))
    if kind is RedisKind.CLUSTER and db:
        raise ValueError(f"expected no database: a cluster has one, got {masked(text)}")
    if kind is RedisKind.TCP and len(authority.nodes) > 1:
        raise ValueError(f"expected one host; several are redis+sentinel:// or redis+cluster://, got {masked(text)}")
    return RedisTarget(
        kind=kind,
        nodes=authority.nodes,
        user=authority.user or beside.user,
        password=authority.password or beside.password,
        db=db,
        master=master,
        tls=parts.scheme.startswith("rediss"),
        ca_file=Path(options["ssl_ca_certs"]) if "ssl_ca_certs" in options else None,
        verify=options.get("ssl_cert_reqs") != "none",
    )


def _redis_path(text: str, kind: RedisKind, path: str) -> tuple[str | None, str]:
    """The master's name and the database's number that a path holds."""
    segments = [unquote(segment) for segment in path.split("/") if segment]
    if kind is RedisKind.SENTINEL:
        if not 1 <= len(segments) <= 2:  # noqa: PLR2004 - /master or /master/db
            raise ValueError(f"expected the master's name after the sentinels, as in …/mymaster, got {masked(text)}")
        return segments[0], segments[1] if segments[1:] else ""
    if len(segments) > 1 or (segments and kind is RedisKind.CLUSTER):
        raise ValueError(
            f"expected nothing after the {'nodes' if kind is RedisKind.CLUSTER else 'database'}, got {masked(text)}"
        )
    return None, segments[0] if segments else ""


def _redis_options(text: str, query: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    unknown = [name for name in options if name not in _REDIS_OPTIONS]
    if unknown:
        raise ValueError(f"expected only the options {', '.join(_REDIS_OPTIONS)} after '?', got {masked(text)}")
    if options.get("ssl_cert_reqs", "none") not in ("none", "required"):
        raise ValueError("expected ssl_cert_reqs to be 'required' or 'none'")
    return options


def _database_number(text: str, number: str) -> int:
    if number and not (number.isascii() and number.isdecimal() and len(number) <= 4):  # noqa: PLR2004 - 0 to 9999
        raise ValueError(f"expected a database number after the host, got {masked(text)}")
    return int(number or 0)


def _parse_postgres(text: str, beside: _Fields) -> PostgresTarget:
    if text == EMBEDDED:
        return PostgresTarget(kind=PostgresKind.EMBEDDED, db=beside.database)
    if "://" not in text:
        return _bare_postgres(text, beside)
    return _postgres_url(text, _database_url(text, ("postgresql", "postgres"), _POSTGRES_FORMS), beside)


def _bare_postgres(text: str, beside: _Fields) -> PostgresTarget:
    try:
        node = parse_address(text, default_port=None)
    except ValueError:
        raise ValueError(f"expected {_POSTGRES_FORMS}, got {masked(text)}") from None
    return PostgresTarget(
        kind=PostgresKind.TCP, nodes=(node,), user=beside.user, password=beside.password, db=beside.database
    )


def _postgres_url(text: str, parts: SplitResult, beside: _Fields) -> PostgresTarget:
    """The connection URI of libpq (PostgreSQL's documentation, 34.1.1.2), but with no credentials in its query."""
    userinfo, _, hosts = parts.netloc.rpartition("@")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    directory = options.pop("host", None)
    if directory is not None and (hosts or not directory.startswith("/")):
        raise ValueError(f"expected ?host= to be the directory of a socket, got {masked(text)}")
    if {"user", "password", "dbname", "port"} & options.keys():
        raise ValueError(f"expected user, password, port and database before the '?', got {masked(text)}")
    if not hosts and directory is None:
        raise ValueError(f"expected {_POSTGRES_FORMS}, got {masked(text)}")
    # A socket has no host of its own: parse a stand-in so that user and password are read by the same rule.
    stand_in = hosts or "localhost"
    authority = _authority(text, f"{userinfo}@{stand_in}" if userinfo else stand_in, POSTGRES_PORT)
    return PostgresTarget(
        kind=PostgresKind.TCP if directory is None else PostgresKind.UNIX,
        nodes=authority.nodes if directory is None else (),
        directory=None if directory is None else Path(directory),
        user=authority.user or beside.user,
        password=authority.password or beside.password,
        db=unquote(parts.path.removeprefix("/")) or beside.database,
        options=tuple(options.items()),
    )
