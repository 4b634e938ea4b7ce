"""One link to a Redis: connected, asked in batches, closed.

Decides how each kind of target is connected to, over redis-py's own connections. Refuses to know who asks, for how
long they wait, and what is done when a link breaks. Whoever holds a link is its only user, and answers come in the
order of the questions: that, and that a link is closed after any doubt, is why no reply can reach another caller.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

import hiredis
from redis.asyncio.connection import (
    Connection,
    ConnectionPool,
    RedisSSLContext,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import DataError, ResponseError
from redis.maint_notifications import MaintNotificationsConfig

from citadel_edge.config.addresses import Address
from citadel_edge.config.targets import RedisKind, RedisTarget
from citadel_edge.errors import StartError

CLIENT_NAME: Final = "citadel-edge"


class Question(Protocol):
    """One command that waits for its reply."""

    args: tuple[Any, ...]

    def answer(self, reply: Any) -> None:
        """Hand the reply over: a value, or an error reply as an exception."""


class Link(Protocol):
    """What a lane needs of a connection. Everything raises redis-py's errors, `OSError` or `TimeoutError`."""

    async def connect(self) -> None:
        """Connect, introduce and authenticate."""

    async def usable(self) -> bool:
        """Whether it is connected and nothing unasked lies in it."""

    async def ask(self, questions: Sequence[Question]) -> None:
        """Send all questions at once and answer each in turn."""

    async def close(self) -> None:
        """Drop the connection without waiting for the server."""


class ConnectionLink:
    """A link over one redis-py connection (TCP, TLS or Unix socket)."""

    def __init__(self, pool: ConnectionPool, tls: RedisSSLContext | None = None) -> None:
        self._pool = pool  # makes the connection and never lends one out
        self._connection = make_connection(pool, tls)

    async def connect(self) -> None:
        """Connect and speak RESP3."""
        await self._connection.connect()

    async def usable(self) -> bool:
        """Connected, with neither an end nor unasked bytes waiting in it."""
        return self._connection.is_connected and not await self._connection.can_read()

    async def ask(self, questions: Sequence[Question]) -> None:
        """One write, then the replies in order."""
        sent, packed = _packed(questions)
        if not sent:
            return
        await self._connection.send_packed_command(packed, check_health=False)
        for question in sent:
            try:
                question.answer(await self._connection.read_response())
            except ResponseError as error:
                question.answer(error)

    async def close(self) -> None:
        """Close the socket; what still arrives is never read."""
        await self._connection.disconnect(nowait=True)


class NodeLink(ConnectionLink):
    """A link to one node of a cluster, which has to be told of each key that is on its way to it."""

    async def ask(self, questions: Sequence[Question]) -> None:
        """As for any server; `ASKING` goes before those that ask for such a key."""
        if any(getattr(question, "asking", False) for question in questions):
            questions = [each for question in questions for each in _announced(question)]
        await super().ask(questions)


class Inquiry:
    """A question of our own, whose reply is kept."""

    def __init__(self, *args: str) -> None:
        self.args: tuple[Any, ...] = args
        self._reply: Any = None

    def answer(self, reply: Any) -> None:
        """Keep it."""
        self._reply = reply

    def value(self) -> Any:
        """The reply; raises what the server answered if that was an error."""
        if isinstance(self._reply, Exception):
            raise self._reply
        return self._reply


def link(target: RedisTarget, tls: RedisSSLContext | None = None) -> Link:
    """A link to the one server of a target, not yet connected."""
    return ConnectionLink(connections(target), tls)


def tls_of(target: RedisTarget) -> RedisSSLContext | None:
    """The target's certificates, read once for all connections. Reads files: call it in a thread.

    Raises:
        StartError: a file cannot be read.
    """
    if not target.tls:
        return None
    names = ("ssl_cert_reqs", "ssl_check_hostname", "ssl_ca_certs")
    context = RedisSSLContext(**{name.removeprefix("ssl_"): _tls(target)[name] for name in names})
    try:
        context.get()
    except OSError as error:
        raise StartError(f"redis.url: {target.ca_file} cannot be read: {error.strerror or error}") from error
    return context


def make_connection(pool: ConnectionPool, tls: RedisSSLContext | None) -> Any:
    """A connection, not yet connected, that uses the certificates read before. The pool has to outlive it."""
    connection = pool.make_connection()  # type: ignore[no-untyped-call]
    if tls is not None and isinstance(connection, SSLConnection):
        connection.ssl_context = tls
    return connection


def at(target: RedisTarget, address: Address) -> RedisTarget:
    """One of a target's servers."""
    return replace(target, kind=RedisKind.TCP, nodes=(address,), master=None)


def connections(target: RedisTarget) -> ConnectionPool:
    """A maker of connections to the one server of a target. Of several, see `at`."""
    if target.kind is RedisKind.UNIX:
        return ConnectionPool(
            connection_class=UnixDomainSocketConnection, path=str(target.path), db=target.db, **_common(target)
        )
    (address,) = target.nodes
    return ConnectionPool(
        connection_class=SSLConnection if target.tls else Connection,
        host=address.host,
        port=address.port,
        socket_keepalive=True,
        db=target.db,
        **_common(target),
        **{name: value for name, value in _tls(target).items() if name != "ssl"},
    )


def _common(target: RedisTarget) -> dict[str, Any]:
    """No timeouts and no retries of redis-py's own: deadlines belong to the lane, a command is sent once."""
    return {
        "username": target.user,
        "password": target.password.get_secret_value() if target.password else None,
        "client_name": CLIENT_NAME,
        "protocol": 3,
        "legacy_responses": False,
        "socket_timeout": None,
        "socket_connect_timeout": None,
        "retry": Retry(NoBackoff(), 0),
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        "driver_info": None,
    }


def _tls(target: RedisTarget) -> dict[str, Any]:
    if not target.tls:
        return {}
    return {
        "ssl": True,
        "ssl_cert_reqs": "required" if target.verify else "none",
        "ssl_check_hostname": target.verify,
        "ssl_ca_certs": str(target.ca_file) if target.ca_file else None,
    }


def _announced(question: Question) -> tuple[Question, ...]:
    return (Inquiry("ASKING"), question) if getattr(question, "asking", False) else (question,)


def _packed(questions: Sequence[Question]) -> tuple[list[Question], list[bytes]]:
    """The questions that can be encoded, and their bytes; the others are answered with what is wrong with them."""
    sent: list[Question] = []
    packed: list[bytes] = []
    for question in questions:
        try:
            packed.append(hiredis.pack_command(question.args))
        except TypeError as error:
            question.answer(DataError(f"a Redis command takes bytes, str, int and float: {error}"))
        else:
            sent.append(question)
    return sent, packed
