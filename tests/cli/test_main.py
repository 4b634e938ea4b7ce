"""Which commands there are, and what becomes of errors."""

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import citadel_edge
from citadel_edge.cli.main import COMMANDS, main
from citadel_edge.cli.options import add_config


def test_the_version_is_told_without_loading_any_room():
    script = (
        "import sys; from citadel_edge.cli.main import main; code = main(['--version'])\n"
        "heavy = {'pydantic', 'aiohttp', 'asyncpg', 'redis', 'asyncio', 'yaml'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"citadel-edge {citadel_edge.__version__}\n", "")


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for command in COMMANDS:
        assert re.search(rf"^ +{command.name}\s+{command.summary[:20]}", out, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_explains_itself(command, capsys):
    assert main([command.name, "--help"]) == 0
    assert f"usage: citadel-edge {command.name}" in capsys.readouterr().out
    module = import_module(command.module)
    assert callable(module.run)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["swim"], "invalid choice: 'swim'"),
        (["serve", "--nope"], "unrecognized arguments: --nope"),
        (["serve", "--set", "routing.retries"], "expected path=value, as in routing.retries=3"),
        (["serve", "--set", "=3"], "expected path=value"),
        (["listener", "start", "web"], "invalid choice: 'web'"),
        (["listener", "restart", "graphql-api"], "invalid choice: 'restart'"),
        (["keys"], "the following arguments are required: ACTION"),
    ],
)
def test_a_wrong_command_is_2(arguments, words, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err
    assert captured.err.startswith("usage: ")


@pytest.mark.parametrize("command", [("serve",), ("check",), ("keys", "bootstrap")])
def test_a_wrong_configuration_is_2_and_all_of_its_mistakes(shell, command, tmp_path):
    (tmp_path / "config.yaml").write_text("routing: {retries: two}\nprocess: {grace: 1}\ndata_dir: made")
    run = shell.spawn if command == ("serve",) else shell.run
    done = run(*command, "--config", tmp_path / "config.yaml")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == [
        "routing.retries: expected a whole number, got 'two'",
        "process.grace: unknown key; did you mean 'grace_s'?",
    ]
    assert not (tmp_path / "made").exists()


def test_settings_of_flags_are_checked_like_all_others(shell, tmp_path):
    done = shell.run(
        "check", "--set", "routing.retries=two", "--set", "a..b=1", "--set", "routing.retries=x=y", cwd=tmp_path
    )
    assert (done.code, done.err.splitlines()) == (
        2,
        [
            "--set a..b: expected a path as in routing.retries or upstreams[gpu-a].slots, got 'a..b'",
            "routing.retries (--set): expected a whole number, got 'x=y'",
        ],
    )


def test_the_file_here_is_the_one_that_is_meant(shell, tmp_path):
    (tmp_path / "config.yaml").write_text("routing: {retries: two}")
    assert shell.run("check", cwd=tmp_path).code == 2


def test_nothing_running_is_one_line_and_1(shell, tmp_path):
    for arguments in (("status",), ("listener", "stop", "graphql-api"), ("listener", "attach", "graphql-api")):
        done = shell.run(*arguments, "--data-dir", tmp_path)
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith(f"citadel-edge: no edge is running behind {tmp_path}/control.sock")
        assert done.err.count("\n") == 1


def test_an_interrupt_before_the_start_is_quiet(shell, tmp_path):
    fifo = tmp_path / "config.yaml"
    os.mkfifo(fifo)
    with shell.started("serve", "--config", fifo) as process:
        opened: list[int] = []
        shell.wait_until(lambda: is_read(fifo, opened), "it reads its configuration")
        shell.wait_until(lambda: ends_at(signal.SIGINT, process), "it is interrupted")
        out, err = process.communicate(timeout=60)
        os.close(opened[0])
    assert (process.returncode, out, err) == (130, "", "")


def ends_at(number: signal.Signals, process: "subprocess.Popen[str]") -> bool:
    """Whether a signal ends it. One that comes just before a read begins is only noticed when the read ends."""
    process.send_signal(number)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)
    return process.returncode is not None


def is_read(fifo: Path, opened: list[int]) -> bool:
    """Whether somebody reads there; then the writing end is kept open, so that the reader goes on waiting."""
    with contextlib.suppress(OSError):
        opened.append(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
    return bool(opened)


def test_a_reader_that_left_is_no_error(shell, tmp_path):
    process = subprocess.Popen(
        [*shell.command, "check", "--set", f"data_dir={tmp_path}"],
        cwd=tmp_path,
        env=shell.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == ""
    assert process.wait(60) == 141


def test_options_have_help():
    parser = argparse.ArgumentParser()
    add_config(parser)
    assert all(action.help for action in parser._actions)
