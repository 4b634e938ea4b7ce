import asyncio
import json
from pathlib import Path

import pytest

from citadel_edge.config.shape import ListenerName
from citadel_edge.control.client import attach, request
from citadel_edge.control.protocol import MAX_LINE_BYTES, Command, ControlError, NotRunning
from citadel_edge.control.server import Bounds
from citadel_edge.errors import ConfigError, Problem, StartError

GRAPHQL = ListenerName.GRAPHQL


async def say(path: Path, *lines: bytes) -> list[dict]:
    """Raw lines on one connection; one answer for each, then what else came until the server closed."""
    reader, writer = await asyncio.open_unix_connection(path)
    answers = []
    for line in lines:
        writer.write(line)
        answers.append(json.loads(await asyncio.wait_for(reader.readline(), 20)))
    writer.close()
    await writer.wait_closed()
    return answers


async def test_a_listener_is_stopped_and_started(served, listeners):
    async with served() as path:
        assert await request(path, Command.STOP, name=GRAPHQL) == {"name": "graphql-api", "state": "stopped"}
        assert listeners.running[GRAPHQL] is False
        assert (await request(path, Command.LISTENER_STATUS, name=GRAPHQL))["state"] == "stopped"
        assert (await request(path, Command.START, name=GRAPHQL))["state"] == "running"
        assert (await request(path, Command.STATUS))["listeners"]["routing-api"] == "running"
        assert (await request(path, Command.RELOAD))["applied"] == ["tiers"]


async def test_a_refusal_comes_in_the_process_own_words(served, listeners):
    listeners.fault = StartError("the listener's port is taken")
    async with served() as path:
        with pytest.raises(ControlError, match="port is taken"):
            await request(path, Command.STATUS)


async def test_an_invalid_configuration_is_told_problem_by_problem(served, listeners):
    listeners.fault = ConfigError([Problem("a.b", "expected a number"), Problem("c", "unknown key")])
    async with served() as path:
        with pytest.raises(ControlError) as refused:
            await request(path, Command.RELOAD)
    assert str(refused.value).splitlines()[1:] == ["a.b: expected a number", "c: unknown key"]


async def test_an_unexpected_failure_is_logged_and_the_socket_lives_on(served, listeners, logged):
    listeners.fault = ZeroDivisionError("secret detail")
    async with served() as path:
        with pytest.raises(ControlError, match="its log says how") as refused:
            await request(path, Command.STATUS)
        assert "secret detail" not in str(refused.value)
        listeners.fault = None
        assert await request(path, Command.STATUS)
    assert [entry["log_level"] for entry in logged] == ["error"]


@pytest.mark.parametrize(
    ("line", "word"),
    [
        (b"status\n", "not understood"),
        (b"\n", "not understood"),
        (b"[]\n", "not understood"),
        (b"{}\n", "command"),
        (b"\xff\xfe\n", "not understood"),
        (b'{"command": "explode"}\n', "listener.stop"),
        (b'{"command": "listener.stop", "name": "attic-api"}\n', "routing-api"),
        (b'{"command": "listener.stop"}\n', "needs a name"),
        (b'{"command": "listener.attach"}\n', "needs a name"),
        (b"[" * 60_000 + b"\n", "not understood"),
    ],
)
async def test_a_line_that_asks_nothing_is_answered_and_the_connection_lives_on(served, line, word):
    async with served() as path:
        wrong, right = await say(path, line, b'{"command": "status"}\n')
    assert word in wrong["error"]
    assert right["version"] == "0"


async def test_a_line_without_end_is_refused_and_let_go(served):
    async with served() as path:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"x" * (3 * MAX_LINE_BYTES))
        answer = json.loads(await asyncio.wait_for(reader.readline(), 20))
        assert str(MAX_LINE_BYTES) in answer["error"]
        assert await ended(reader)
        writer.close()


async def ended(reader: asyncio.StreamReader) -> bool:
    """Whether the server has closed; what it left unread may turn that into a reset."""
    try:
        return await asyncio.wait_for(reader.read(), 20) == b""
    except ConnectionResetError:
        return True


async def test_silence_is_ended(served):
    async with served(Bounds(idle_s=0.05)) as path:
        reader, writer = await asyncio.open_unix_connection(path)
        assert await ended(reader)
        writer.close()


async def test_connections_past_the_bound_are_turned_away_and_room_comes_back(served):
    async with served(Bounds(connections=2)) as path:
        held = [await asyncio.open_unix_connection(path) for _ in range(2)]
        for _reader, writer in held:
            writer.write(b'{"command": "status"}\n')
        for reader, _writer in held:
            await reader.readline()
        with pytest.raises(ControlError, match="2 control connections"):
            await request(path, Command.STATUS)
        for _reader, writer in held:
            writer.close()

        async with asyncio.timeout(20):
            while not await answers(path):
                await asyncio.sleep(0.01)


async def answers(path: Path) -> bool:
    try:
        return bool(await request(path, Command.STATUS))
    except ControlError:
        return False


async def test_attach_carries_the_lines_of_its_listener_alone(served, listeners):
    async with served() as path:
        listeners.lines[GRAPHQL].put_nowait("one")
        listeners.lines[ListenerName.ROUTING].put_nowait("another's")
        listeners.lines[GRAPHQL].put_nowait('{"zwei": "ü\\n"}')
        listeners.lines[GRAPHQL].put_nowait(None)
        assert [line async for line in attach(path, GRAPHQL)] == ["one", '{"zwei": "ü\\n"}']


async def test_a_reader_that_leaves_a_silent_listener_is_noticed(served, listeners, eventually):
    async with served() as path:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b'{"command": "listener.attach", "name": "graphql-api"}\n')
        await eventually(lambda: listeners.attached == 1)
        writer.close()
        await eventually(lambda: listeners.attached == 0)
        assert await reader.read() == b""


async def test_a_reader_that_reads_nothing_is_let_go(served, listeners, eventually):
    async with served(Bounds(send_s=0.1)) as path:
        _reader, writer = await asyncio.open_unix_connection(path, limit=1)
        writer.write(b'{"command": "listener.attach", "name": "graphql-api"}\n')
        for _ in range(200):
            listeners.lines[GRAPHQL].put_nowait("x" * 20_000)
        await eventually(lambda: listeners.attached == 1)
        await eventually(lambda: listeners.attached == 0)
        writer.close()


async def test_the_end_of_the_process_ends_attach_and_takes_the_file_away(served, listeners, eventually):
    heard: list[str] = []
    async with asyncio.TaskGroup() as group:
        async with served() as path:
            listeners.lines[GRAPHQL].put_nowait("one")
            reading = group.create_task(read_into(path, heard))
            await eventually(lambda: heard == ["one"])
        await asyncio.wait_for(reading, 20)
    assert listeners.attached == 0
    assert not path.exists()
    with pytest.raises(NotRunning, match="no edge is running"):
        await request(path, Command.STATUS)


async def read_into(path: Path, heard: list[str]) -> None:
    async for line in attach(path, GRAPHQL):
        heard += [line]


async def test_a_process_that_does_not_answer_is_given_up(served, listeners):
    async with served() as path:
        listeners.status = lambda: asyncio.sleep(60)  # type: ignore[method-assign]
        with pytest.raises(ControlError, match="did not answer within"):
            await request(path, Command.STATUS, timeout_s=0.05)
