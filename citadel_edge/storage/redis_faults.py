"""What an error of the Redis client, or an error reply, means. Pure.

Decides which errors say that the server is away, which only spoil one call, and which are the caller's own. The words
are ours: a server's text may quote what it was sent, a password included.
"""

from enum import Enum
from typing import Final

from redis import exceptions
from redis.exceptions import RedisClusterException, RedisError

FAULTS: Final = (RedisError, RedisClusterException, OSError)


class Fault(Enum):
    """How far an error reaches."""

    AWAY = "away"  # the server: nobody is served
    SLOW = "slow"  # no answer in time: look whether the server is away
    CALL = "call"  # this call cannot be served now
    NONE = "none"  # the command is wrong: its author's business


_REPLIES: Final = (
    (exceptions.BusyLoadingError, Fault.AWAY, "is loading its data set"),
    (exceptions.AuthenticationError, Fault.AWAY, "refuses the password: check redis.username and redis.password"),
    (exceptions.AuthorizationError, Fault.AWAY, "refuses the user: check redis.username and its ACL"),
    (exceptions.AuthenticationWrongNumberOfArgsError, Fault.AWAY, "is too old: version 6 or later is needed"),
    (exceptions.NoPermissionError, Fault.CALL, "does not permit this to the user: check its ACL"),
    (exceptions.ReadOnlyError, Fault.CALL, "is a read-only replica: point redis.url at the primary or its sentinels"),
    (exceptions.OutOfMemoryError, Fault.CALL, "is out of memory: raise its maxmemory"),
    (exceptions.ClusterDownError, Fault.CALL, "is a cluster whose slots are not all served"),
    (exceptions.MasterDownError, Fault.CALL, "is a replica that has lost its primary"),
    (exceptions.AskError, Fault.CALL, "is a node of a cluster: write redis+cluster:// in redis.url"),
    (exceptions.TryAgainError, Fault.CALL, "is moving the key to another node"),
)
_PREFIXES: Final = (
    ("BUSY ", Fault.AWAY, "is busy running a script or function"),
    ("MISCONF ", Fault.CALL, "refuses writes because it cannot save to its disk"),
    ("Attempted to access a non local key", Fault.CALL, "is moving the key to another node"),  # Valkey, in a script
    ("Script attempted to access a non local key", Fault.CALL, "is moving the key to another node"),  # Redis 7
    ("NOREPLICAS ", Fault.CALL, "refuses writes because too few replicas follow it"),
    ("UNKILLABLE ", Fault.AWAY, "is busy running a script that has written"),
    ("-NOMASTERLINK", Fault.CALL, "is a sentinel without its primary"),
)
_SYSTEM: Final = (
    (FileNotFoundError, "has no socket there: is it running?"),
    (ConnectionRefusedError, "refuses connections: is it running?"),
    (PermissionError, "may not be connected to by this process"),
    # A server that has no place for a further client says so and hangs up, often before we have written a word.
    (BrokenPipeError, "closed the connection: is it shutting down, or its maxclients reached?"),
    (ConnectionResetError, "closed the connection: is it shutting down, or its maxclients reached?"),
)


def judge(error: BaseException) -> tuple[Fault, str]:
    """How far `error` reaches, and a clause to put behind the server's name."""
    for cause in _causes(error):  # redis-py wraps what the server answers to an introduction
        for kind, fault, words in _REPLIES:
            if isinstance(cause, kind):
                return fault, words
    if isinstance(error, exceptions.ResponseError):
        text = str(error)
        return next(((fault, words) for prefix, fault, words in _PREFIXES if text.startswith(prefix)), (Fault.NONE, ""))
    if isinstance(error, (exceptions.DataError, exceptions.PubSubError)):
        return Fault.NONE, ""
    if isinstance(error, (TimeoutError, exceptions.TimeoutError)):
        return Fault.SLOW, "did not answer in time"
    return Fault.AWAY, _away(error)


def _away(error: BaseException) -> str:
    if "max number of clients" in str(error):
        return "refuses further clients: raise its maxclients"
    if "No such master" in str(error):
        return "has sentinels that know no primary of this name: check redis.url"
    if type(error).__name__ == "MasterNotFoundError":
        return "has no primary that its sentinels agree on"
    if isinstance(error, RedisClusterException):
        return "cannot be reached as a cluster: check the nodes and that they form one"
    for cause in _causes(error):
        words = next((words for kind, words in _SYSTEM if isinstance(cause, kind)), None)
        if words is not None:
            return words
    text = str(error)
    for mark, words in (("refused", _SYSTEM[1][1]), ("No such file", _SYSTEM[0][1]), ("CERTIFICATE", _TLS)):
        if mark in text:
            return words
    if isinstance(error, (RedisError, OSError)):
        return "closed the connection"
    return f"could not be spoken with ({type(error).__name__})"


_TLS: Final = "has a certificate that is not trusted: check ssl_ca_certs in redis.url"


def _causes(error: BaseException) -> list[BaseException]:
    found = []
    cause: BaseException | None = error
    while cause is not None and cause not in found:
        found.append(cause)
        cause = cause.__cause__ or cause.__context__
    return found
