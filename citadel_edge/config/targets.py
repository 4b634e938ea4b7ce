"""What a configured Redis or PostgreSQL address points at, as values. Pure.

Decides what a connection needs to know. Refuses to know how the address was written: that is `urls`.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote, urlencode

from pydantic import SecretStr

from citadel_edge.config.addresses import Address


class RedisKind(StrEnum):
    """How a Redis is reached."""

    EMBEDDED = "embedded"
    TCP = "tcp"
    UNIX = "unix"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


class PostgresKind(StrEnum):
    """How a PostgreSQL is reached."""

    EMBEDDED = "embedded"
    TCP = "tcp"
    UNIX = "unix"


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisTarget:
    """A Redis to connect to.

    Attributes:
        kind: how it is reached; of `EMBEDDED` nothing else is known.
        nodes: the server (one), the sentinels or the cluster's seeds; empty for a socket.
        path: the socket of `UNIX`.
        master: the master's name at the sentinels.
        tls: whether the connection is encrypted, with `ca_file` as authority and its certificate checked if `verify`.
    """

    kind: RedisKind
    nodes: tuple[Address, ...] = ()
    path: Path | None = None
    user: str | None = None
    password: SecretStr | None = None
    db: int = 0
    master: str | None = None
    tls: bool = False
    ca_file: Path | None = None
    verify: bool = True

    @property
    def host(self) -> str | None:
        """The first node's host."""
        return self.nodes[0].host if self.nodes else None

    @property
    def port(self) -> int | None:
        """The first node's port."""
        return self.nodes[0].port if self.nodes else None

    @property
    def label(self) -> str:
        """Where it is, for logs and tables: no user, no password."""
        if self.kind is RedisKind.UNIX:
            return f"unix://{self.path}"
        return ",".join(map(str, self.nodes)) + (f"/{self.master}" if self.master else "") or str(self.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresTarget:
    """A PostgreSQL to connect to.

    Attributes:
        kind: how it is reached; of `EMBEDDED` only `db` is known.
        nodes: the servers, tried in this order; empty for a socket.
        directory: the directory that holds the socket of `UNIX`.
        options: further parameters of the DSN, as libpq names them (`sslmode`, `sslrootcert`, …).
    """

    kind: PostgresKind
    nodes: tuple[Address, ...] = ()
    directory: Path | None = None
    user: str | None = None
    password: SecretStr | None = None
    db: str
    options: tuple[tuple[str, str], ...] = ()

    @property
    def host(self) -> str | None:
        """The first node's host, or the socket's directory."""
        return self.nodes[0].host if self.nodes else str(self.directory) if self.directory else None

    @property
    def port(self) -> int | None:
        """The first node's port."""
        return self.nodes[0].port if self.nodes else None

    @property
    def dsn(self) -> SecretStr:
        """The whole as one `postgresql://` URL for the driver; empty for `EMBEDDED`."""
        if self.kind is PostgresKind.EMBEDDED:
            return SecretStr("")
        options = (("host", str(self.directory)), *self.options) if self.directory else self.options
        query = f"?{urlencode(options)}" if options else ""
        return SecretStr(
            f"postgresql://{_userinfo(self.user, self.password)}{','.join(map(str, self.nodes))}"
            f"/{quote(self.db, safe='')}{query}"
        )

    @property
    def label(self) -> str:
        """Where it is, for logs and tables: no user, no password."""
        where = ",".join(map(str, self.nodes)) or (f"unix:{self.directory}" if self.directory else str(self.kind))
        return f"{where}/{self.db}"


def _userinfo(user: str | None, password: SecretStr | None) -> str:
    if user is None and password is None:
        return ""
    secret = f":{quote(password.get_secret_value(), safe='')}" if password else ""
    return f"{quote(user or '', safe='')}{secret}@"
