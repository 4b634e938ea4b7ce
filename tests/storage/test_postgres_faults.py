import asyncpg
import pytest

from citadel_edge.storage.postgres_faults import Fault, judge


@pytest.mark.parametrize(
    ("error", "fault", "words"),
    [
        (asyncpg.CannotConnectNowError("the database system is starting up"), Fault.AWAY, "starting up"),
        (asyncpg.AdminShutdownError("terminating connection"), Fault.AWAY, "shutting down"),
        (asyncpg.CrashShutdownError("terminating connection"), Fault.AWAY, "crash"),
        (asyncpg.TooManyConnectionsError("sorry, too many clients already"), Fault.AWAY, "pool_size"),
        (asyncpg.InvalidPasswordError("password authentication failed"), Fault.AWAY, "postgres.password"),
        (asyncpg.InvalidCatalogNameError('database "x" does not exist'), Fault.AWAY, "postgres.database"),
        (asyncpg.ConnectionDoesNotExistError("connection was closed"), Fault.AWAY, "closed"),
        (asyncpg.ReadOnlySQLTransactionError("cannot execute INSERT"), Fault.AWAY, "primary"),
        (asyncpg.QueryCanceledError("canceling statement"), Fault.SLOW, "cancelled"),
        (asyncpg.InterfaceError("connection is closed"), Fault.AWAY, "closed"),
        (asyncpg.InterfaceError("the server expects 1 argument"), Fault.NONE, ""),
        (asyncpg.InternalClientError("cannot switch to state 12"), Fault.AWAY, "closed"),
        (asyncpg.UniqueViolationError("duplicate key"), Fault.NONE, ""),
        (asyncpg.UndefinedTableError("no such table"), Fault.NONE, ""),
        (ConnectionRefusedError(), Fault.AWAY, "refuses connections"),
        (FileNotFoundError(), Fault.AWAY, "no socket"),
        (OSError(113, "No route to host"), Fault.AWAY, "No route to host"),
        (TimeoutError(), Fault.SLOW, "did not answer"),
        (KeyError("mine"), Fault.NONE, ""),
    ],
)
def test_each_error_says_what_it_does_of_the_server(error, fault, words):
    judged, said = judge(error)
    assert judged is fault
    assert words in said
