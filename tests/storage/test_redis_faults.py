import pytest
from redis import exceptions
from redis.exceptions import RedisClusterException

from citadel_edge.storage.redis_faults import Fault, judge

SECRET = "correct horse battery staple"


def caused(error, cause):
    error.__context__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "fault", "words"),
    [
        (exceptions.BusyLoadingError("Redis is loading the dataset in memory"), Fault.AWAY, "loading"),
        (exceptions.AuthenticationError("invalid username-password pair"), Fault.AWAY, "redis.password"),
        (exceptions.AuthenticationError("Authentication required."), Fault.AWAY, "redis.password"),
        (exceptions.ConnectionError("max number of clients reached"), Fault.AWAY, "maxclients"),
        (exceptions.ReadOnlyError("You can't write against a read only replica."), Fault.CALL, "read-only"),
        (exceptions.ResponseError("BUSY Redis is busy running a script."), Fault.AWAY, "busy"),
        (exceptions.OutOfMemoryError("command not allowed"), Fault.CALL, "maxmemory"),
        (exceptions.ResponseError("MISCONF Redis is configured to save"), Fault.CALL, "disk"),
        (exceptions.NoPermissionError("no permissions"), Fault.CALL, "ACL"),
        (exceptions.ClusterDownError("The cluster is down"), Fault.CALL, "cluster"),
        (exceptions.ResponseError("Attempted to access a non local key in a cluster node"), Fault.CALL, "moving"),
        (exceptions.ResponseError("Script attempted to access a non local key in a"), Fault.CALL, "moving"),
        (exceptions.MovedError("1 10.0.0.1:7000"), Fault.CALL, "redis+cluster://"),
        (exceptions.ConnectionError("No such master with that name"), Fault.AWAY, "check redis.url"),
        (RedisClusterException("Redis Cluster cannot be connected."), Fault.AWAY, "cluster"),
        (exceptions.ResponseError("WRONGTYPE Operation against a key"), Fault.NONE, ""),
        (exceptions.NoScriptError("No matching script"), Fault.NONE, ""),
        (exceptions.DataError("Invalid input of type"), Fault.NONE, ""),
        (TimeoutError(), Fault.SLOW, "did not answer"),
        (exceptions.TimeoutError("Timeout reading"), Fault.SLOW, "did not answer"),
        (caused(exceptions.ConnectionError("x"), ConnectionRefusedError()), Fault.AWAY, "refuses connections"),
        (caused(exceptions.ConnectionError("x"), FileNotFoundError()), Fault.AWAY, "no socket"),
        (caused(exceptions.ConnectionError("x"), PermissionError()), Fault.AWAY, "may not"),
        (exceptions.ConnectionError("[SSL: CERTIFICATE_VERIFY_FAILED]"), Fault.AWAY, "ssl_ca_certs"),
        (exceptions.ConnectionError("Connection closed by server."), Fault.AWAY, "closed"),
    ],
)
def test_each_error_reaches_as_far_as_it_does(error, fault, words):
    judged, said = judge(error)
    assert judged is fault
    assert words in said


def test_what_the_server_quotes_is_not_repeated():
    quoted = f"unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `default`, `{SECRET}`"
    for kind in (exceptions.ConnectionError, exceptions.AuthenticationError, exceptions.ResponseError):
        assert SECRET not in judge(kind(quoted))[1]
