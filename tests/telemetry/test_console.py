import fcntl
import os
import pty
import socket
import threading
import time
from io import StringIO

import pytest

from citadel_edge.config.shape import LogsConfig
from citadel_edge.telemetry.console import BackedConsole, DirectConsole, TextConsole, _poll_and_write, open_console
from citadel_edge.telemetry.logs import Logs

LINES = [b"%06d %s\n" % (n, b"x" * 200) for n in range(3000)]
"""Over 600 kB: more than any pipe or socket here takes."""


@pytest.fixture(params=["pipe", "socket"])
def ends(request):
    """A reading and a writing descriptor."""
    pair = os.pipe() if request.param == "pipe" else tuple(end.detach() for end in socket.socketpair())
    yield pair
    for fd in pair:
        try:
            os.close(fd)
        except OSError:
            continue


def read_all(fd, size):
    got = b""
    while len(got) < size and (chunk := os.read(fd, 65536)):
        got += chunk
    return got


def test_a_reader_who_keeps_up_needs_no_thread(ends):
    console = BackedConsole(ends[1])
    for line in LINES[:200]:
        console.write(line)
        assert os.read(ends[0], 65536) == line
    assert console._thread is None
    console.close()


def test_a_reader_who_sleeps_stalls_nobody_and_gets_everything_in_order(ends):
    console = BackedConsole(ends[1])
    began = time.perf_counter()
    for line in LINES:
        console.write(line)
    assert time.perf_counter() - began < 2
    expected = b"".join(LINES)
    assert read_all(ends[0], len(expected)) == expected
    console.close()
    assert console.lost == 0


def test_past_the_backlog_new_lines_are_dropped_whole_and_counted(ends):
    console = BackedConsole(ends[1], backlog_bytes=50_000)
    for line in LINES:
        console.write(line)
    assert 0 < console.lost < len(LINES)
    kept = read_all(ends[0], sum(map(len, LINES[: len(LINES) - console.lost]))).splitlines(keepends=True)
    assert kept == LINES[: len(kept)]
    assert len(kept) + console.lost == len(LINES)
    console.close()


def test_closing_waits_a_little_for_a_reader_and_no_longer(ends):
    console = BackedConsole(ends[1])
    for line in LINES:
        console.write(line)
    began = time.perf_counter()
    console.close(timeout_s=0.2)
    assert time.perf_counter() - began < 5
    assert console.lost > 0
    console.write(b"late\n")
    console.close()


def test_closing_gives_a_late_reader_the_rest(ends):
    console = BackedConsole(ends[1])
    for line in LINES:
        console.write(line)
    got = []
    reader = threading.Thread(target=lambda: got.append(read_all(ends[0], sum(map(len, LINES)))))
    reader.start()
    console.close(timeout_s=20)
    reader.join()
    assert got == [b"".join(LINES)]


def test_a_reader_who_has_gone_costs_lines_and_nothing_else(ends):
    console = BackedConsole(ends[1])
    os.close(ends[0])
    for line in LINES[:10]:
        console.write(line)
    assert console.lost == 10
    console.close()


def test_a_reader_who_goes_while_lines_wait_ends_the_thread(ends):
    console = BackedConsole(ends[1])
    for line in LINES:
        console.write(line)
    thread = console._thread
    os.close(ends[0])
    thread.join(10)
    assert not thread.is_alive()
    assert console.lost > 0
    console.close()


def test_the_descriptor_keeps_its_own_flags(ends):
    console = BackedConsole(ends[1])
    assert os.get_blocking(ends[1])
    console.close()
    os.write(ends[1], b"still open")


def test_a_frozen_terminal_stalls_nobody():
    ours, theirs = pty.openpty()
    console = BackedConsole(theirs)
    began = time.perf_counter()
    for line in LINES[:1000]:
        console.write(line)
    assert time.perf_counter() - began < 2
    console.close(timeout_s=0)
    assert console.lost > 0
    os.close(ours)
    os.close(theirs)


def test_without_a_second_descriptor_a_full_pipe_is_seen_before_it_is_written():
    read, write = os.pipe()
    room = fcntl.fcntl(write, fcntl.F_GETPIPE_SZ)
    for _ in range(room // 4096):
        assert _poll_and_write(write, b"x" * 10_000) == 4096
    with pytest.raises(BlockingIOError):
        _poll_and_write(write, b"x")
    os.read(read, 65536)
    assert _poll_and_write(write, b"y") == 1
    os.close(read)
    os.close(write)


def test_a_regular_file_is_written_directly(tmp_path):
    with (tmp_path / "out").open("w") as stream:
        stream.write("before\n")
        console = open_console(stream)
        assert isinstance(console, DirectConsole)
        console.write(b"line\n")
    console.write(b"to a closed file\n")
    assert console.lost == 1
    assert (tmp_path / "out").read_text() == "before\nline\n"


def test_a_stream_in_memory_is_a_stream():
    stream = StringIO()
    console = open_console(stream)
    assert isinstance(console, TextConsole)
    console.write("zeile ä\n".encode())
    assert stream.getvalue() == "zeile ä\n"
    stream.close()
    console.write(b"x")
    assert console.lost == 1


def test_a_terminal_gets_colours_and_a_pipe_json():
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as stream, Logs.open(LogsConfig(), stream=stream) as logs:
        logs.logger().info("hello", a=1)
        shown = os.read(ours, 4096)
    os.close(ours)
    assert b"\x1b[" in shown
    assert b'"event"' not in shown
    assert b"hello" in shown
