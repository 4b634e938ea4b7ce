"""How tables look, and when they have colours."""

import os
import pty
import subprocess

from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.cli.console import Cell, Tone, table

ROWS = [
    [Cell("redis"), Cell("ok", Tone.GOOD), Cell("")],
    [Cell("postgres"), Cell("down", Tone.BAD), Cell("is it\non?")],
]


def test_columns_are_aligned_and_nothing_trails():
    assert table(("NAME", "STATE", "DETAIL"), ROWS, coloured=False).splitlines() == [
        "NAME      STATE  DETAIL",
        "redis     ok",
        "postgres  down   is it on?",
    ]


def test_colours_change_nothing_but_colours():
    coloured = table(("NAME", "STATE", "DETAIL"), ROWS, coloured=True)
    assert "\x1b[31mdown \x1b[0m" in coloured
    assert "\x1b[32mok\x1b[0m" in coloured


@given(st.lists(st.lists(st.text(max_size=8), min_size=3, max_size=3), max_size=5))
def test_a_row_is_always_one_line(rows):
    lines = table(("A", "B", "C"), [[Cell(text) for text in row] for row in rows], coloured=False).split("\n")
    assert len(lines) == len(rows) + 1
    assert all(line == line.rstrip() or not line.isascii() for line in lines)


def on_a_terminal(shell, directory, **more: str) -> str:
    """What `check` prints on a terminal."""
    leader, follower = pty.openpty()
    command = [*shell.command, "check", "--set", f"data_dir={directory}"]
    subprocess.run(
        command, cwd=directory, env=shell.environment(TERM="xterm", **more), stdout=follower, check=True, timeout=60
    )
    os.close(follower)
    with os.fdopen(leader, "rb") as file:
        return file.read1(65536).decode()


def test_a_terminal_gets_colours(shell, tmp_path):
    assert "\x1b[32mok" in on_a_terminal(shell, tmp_path, NO_COLOR="")


def test_no_color_is_honoured(shell, tmp_path):
    plain = on_a_terminal(shell, tmp_path, NO_COLOR="1")
    assert "configuration" in plain
    assert "\x1b[" not in plain
