"""What an error of the PostgreSQL driver means. Pure.

Decides which errors say that the server is away (and in which words), which are about a value that a client sent, and
which are about the statement and belong to whoever wrote it. The words are ours: a driver's text may quote what a
client sent.
"""

from enum import Enum
from typing import Final

import asyncpg

from citadel_edge.errors import Code, RequestError

_BY_SQLSTATE: Final = {
    "57P01": "is shutting down",
    "57P02": "is restarting after a crash of one of its processes",
    "57P03": "is starting up or shutting down",
    "53300": "refuses further connections: raise max_connections there or lower postgres.pool_size here",
    "53100": "has no disk space left",
    "53200": "is out of memory",
    "28P01": "refuses the password: check postgres.user and postgres.password",
    "28000": "refuses the user: check postgres.user, postgres.password and its pg_hba.conf",
    "3D000": "has no such database: check postgres.database",
    "25006": "is read-only (a standby?): point postgres.dsn at the primary",
    "57014": "cancelled the statement before it ended",
}
_BY_TYPE: Final = (
    (FileNotFoundError, "has no socket there: is it running?"),
    (ConnectionRefusedError, "refuses connections: is it running?"),
    (ConnectionResetError, "closed the connection"),
    (PermissionError, "may not be connected to by this process"),
)
_CLOSED: Final = (
    "connection is closed",
    "connection was closed",
    "pool is clos",
    "another operation is in progress",
    "released back",
)

DRIVER_ERRORS: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""What the driver raises; TimeoutError is an OSError."""


class Fault(Enum):
    """What to think of the server after an error."""

    AWAY = "away"
    SLOW = "slow"
    NONE = "none"


def judge(error: BaseException) -> tuple[Fault, str]:
    """What `error` says of the server, and a clause to put behind its name."""
    if isinstance(error, asyncpg.PostgresError):
        return _judge_sqlstate(error)
    if isinstance(error, asyncpg.InterfaceError):
        closed = any(mark in str(error) for mark in _CLOSED)
        return (Fault.AWAY, "closed the connection") if closed else (Fault.NONE, "")
    if isinstance(error, asyncpg.InternalClientError):
        # Between two statements of a transaction the server closed the connection: the driver stumbles over its words.
        closed = "in progress" in str(error)
        return (Fault.AWAY, "closed the connection") if closed else (Fault.NONE, "")
    if isinstance(error, TimeoutError):
        return Fault.SLOW, "did not answer in time"
    if isinstance(error, OSError):
        words = next((words for kind, words in _BY_TYPE if isinstance(error, kind)), "")
        return Fault.AWAY, words or f"cannot be reached ({error.strerror or type(error).__name__})"
    return Fault.NONE, ""


def refusal(error: BaseException) -> RequestError | None:
    """What a client is told whose value PostgreSQL cannot hold: a text with a zero byte, a number out of range."""
    refused = asyncpg.CharacterNotInRepertoireError | asyncpg.UntranslatableCharacterError
    by_server = isinstance(error, refused | asyncpg.NumericValueOutOfRangeError)
    by_driver = isinstance(error, asyncpg.DataError) and isinstance(error.__cause__, UnicodeEncodeError | OverflowError)
    if not by_server and not by_driver:
        return None
    return RequestError(Code.INVALID_REQUEST, "A number is out of range, or a text has a zero byte or no valid UTF-8.")


def _judge_sqlstate(error: asyncpg.PostgresError) -> tuple[Fault, str]:
    sqlstate = getattr(error, "sqlstate", None) or ""
    if sqlstate == "57014":
        return Fault.SLOW, _BY_SQLSTATE[sqlstate]
    if words := _BY_SQLSTATE.get(sqlstate):
        return Fault.AWAY, words
    if sqlstate.startswith("08"):
        return Fault.AWAY, "closed the connection"
    return Fault.NONE, ""
