"""TLS towards PostgreSQL, as libpq's `sslmode` has it.

Decides how a connection is protected. Certificates are read once, off the loop; the driver would read them on the loop
for each connection. Source: PostgreSQL's documentation, 34.19.
"""

import ssl
from collections.abc import Awaitable, Callable, Mapping
from enum import IntEnum
from typing import Any, Final

from citadel_edge.errors import StartError

OPTIONS: Final = frozenset({"sslmode", "sslrootcert", "sslcert", "sslkey"})


class SslMode(IntEnum):
    """From no protection to all of it."""

    DISABLE = 0
    ALLOW = 1
    PREFER = 2
    REQUIRE = 3
    VERIFY_CA = 4
    VERIFY_FULL = 5


class Tls:
    """One target's protection. `connect` runs an attempt with it."""

    def __init__(self, mode: SslMode, context: ssl.SSLContext | None) -> None:
        self._mode = mode
        self._context = context

    @classmethod
    def of(cls, options: Mapping[str, str]) -> "Tls":
        """What the options of a DSN say; without any, TLS where the server has it. Reads files: call it in a thread.

        Raises:
            StartError: the mode is unknown, or a file cannot be read.
        """
        name = options.get("sslmode", "prefer")
        try:
            mode = SslMode[name.replace("-", "_").upper()]
        except KeyError:
            raise StartError(f"postgres.dsn: there is no sslmode {name!r}") from None
        return cls(mode, None if mode is SslMode.DISABLE else _context(mode, options))

    async def connect(self, attempt: Callable[[ssl.SSLContext | bool], Awaitable[Any]]) -> Any:
        """The connection that `attempt(ssl)` makes; without TLS where the mode allows it and the server has none."""
        if self._context is None:
            return await attempt(False)
        try:
            return await attempt(self._context)
        except ConnectionError as error:
            # The driver's words for a server that answered "no" to the request for TLS.
            if self._mode >= SslMode.REQUIRE or "rejected SSL upgrade" not in str(error):
                raise
        connection = await attempt(False)
        self._context = None
        return connection


def _context(mode: SslMode, options: Mapping[str, str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = mode is SslMode.VERIFY_FULL
    if mode < SslMode.VERIFY_CA and "sslrootcert" not in options:
        context.verify_mode = ssl.CERT_NONE
    try:
        if context.verify_mode is ssl.CERT_REQUIRED:
            _trust(context, options.get("sslrootcert"))
        if "sslcert" in options:
            context.load_cert_chain(options["sslcert"], options.get("sslkey"))
    except OSError as error:
        raise StartError(f"postgres.dsn: a certificate file cannot be read: {error.strerror or error}") from error
    return context


def _trust(context: ssl.SSLContext, authority: str | None) -> None:
    if authority is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(authority)
