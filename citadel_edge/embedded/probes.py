"""Whether an embedded part serves yet: one question to each, asked in its own words, with a bound of its own."""

import asyncio
from pathlib import Path

import asyncpg

ANSWER_S = 2.0
PORT = 5432  # names the socket; nothing listens on TCP


async def valkey_answers(socket: Path) -> bool:
    """Whether PING is answered with PONG; an engine that still loads its file answers otherwise."""
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_unix_connection(str(socket))
            return await _ask(reader, writer, b"PING\r\n") == b"+PONG"
    except (OSError, TimeoutError):
        return False


async def llama_answers(port: int) -> bool:
    """Whether `GET /health` on loopback is 200; it is 503 while the model loads."""
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            line = await _ask(reader, writer, b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return line.split(b" ")[1:2] == [b"200"]
    except (OSError, TimeoutError):
        return False


async def postgres_answers(socket_directory: Path, *, user: str, database: str) -> bool:
    """Whether the database takes a connection; a missing database is made."""
    try:
        await _connect_once(socket_directory, user, database)
    except asyncpg.InvalidCatalogNameError:
        return await _make_database(socket_directory, user, database)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    return True


async def _make_database(socket_directory: Path, user: str, database: str) -> bool:
    quoted = '"' + database.replace('"', '""') + '"'
    try:
        await _connect_once(socket_directory, user, "postgres", f"CREATE DATABASE {quoted}")
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    return True


async def _connect_once(socket_directory: Path, user: str, database: str, statement: str | None = None) -> None:
    connection = await asyncpg.connect(
        host=str(socket_directory), port=PORT, user=user, database=database, password="", timeout=ANSWER_S
    )
    try:
        if statement is not None:
            await connection.execute(statement)
    finally:
        connection.terminate()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, question: bytes) -> bytes:
    """The first line of the answer, without its end."""
    try:
        writer.write(question)
        return (await reader.readline()).strip()
    finally:
        writer.close()
