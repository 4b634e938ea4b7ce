import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import structlog
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from citadel_edge.config.shape import ListenerName, LogsConfig
from citadel_edge.telemetry.log_metrics import LogMetrics
from citadel_edge.telemetry.logs import Logs
from citadel_edge.telemetry.stdlib_bridge import Bridge


def test_a_line_is_json_with_time_level_event_and_listener_first(desk):
    one = desk()
    one.logs.logger(ListenerName.ROUTING, request_id="r1").info("request", status=200)
    text = one.screen.getvalue()
    assert text.startswith(
        '{"timestamp":"2027-01-15T08:00:00.250Z","level":"info","event":"request","listener":"routing-api"'
    )
    assert text.endswith("\n")
    assert one.said()[0] | {"request_id": "r1", "status": 200} == one.said()[0]


def test_each_level_is_named(desk):
    one = desk(level="debug")
    log = one.logs.logger()
    for level in ("debug", "info", "warning", "error", "critical"):
        getattr(log, level)("x")
    log.warn("x")  # noqa: G010 - what it is called is what is tested
    log.msg("x")
    assert [line["level"] for line in one.said()] == [
        "debug", "info", "warning", "error", "critical", "warning", "info",
    ]  # fmt: skip


def test_the_level_changes_for_loggers_that_exist(desk):
    one = desk()
    early = one.logs.logger().bind(a=1)
    early.debug("no")
    one.logs.reconfigure(LogsConfig(level="debug"))
    early.debug("yes")
    one.logs.reconfigure(LogsConfig(level="error"))
    early.warning("no")
    one.logs.logger().info("no")
    early.error("yes")
    assert [line["event"] for line in one.said()] == ["yes", "yes"]
    assert not early.is_enabled_for(logging.WARNING)


def test_two_logs_do_not_disturb_each_other_nor_structlog(desk):
    before = structlog.get_config()
    loud, quiet = desk(level="debug"), desk(level="error")
    loud.logs.logger().debug("x")
    quiet.logs.logger().debug("x")
    assert (len(loud.said()), len(quiet.said())) == (1, 0)
    assert structlog.get_config() == before


def test_an_exception_stands_in_the_line_without_its_secrets(desk):
    one = desk()
    try:
        fail("no access to redis://me:hunter2@h with cit_dev_abc_def")
    except ValueError:
        one.logs.logger().exception("failed", password="hunter2")
    (line,) = one.said()
    assert "hunter2" not in one.screen.getvalue()
    assert "cit_dev" not in one.screen.getvalue()
    assert "ValueError: no access to redis://me:[redacted]@h" in line["exception"]
    assert "Traceback" in line["exception"]
    assert "exc_info" not in line


def fail(text):
    raise ValueError(text)


class Broken:
    def __repr__(self):
        raise OSError("no repr")


class BrokenError(Exception):
    def __str__(self):
        raise OSError("no str")


def itself():
    loop: list[object] = []
    loop.append(loop)
    return loop


@pytest.mark.parametrize(
    "value",
    [Broken(), itself(), 2**80, "lone \udce4", {1.5: {object(): 1}}, {(1, 2): 3}, float("nan"), b"\xff", Path("/x"),
     SecretStr("hunter2"), {1, 2}, BrokenError(), ValueError("x"), sys, lambda: 1],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_no_value_breaks_the_one_who_logs(desk, value):
    one = desk()
    one.logs.logger().info("odd", value=value, after="kept")
    (line,) = one.said()
    assert line["event"] == "odd"
    assert line["after"] == "kept"
    assert "hunter2" not in str(line)


def test_neither_does_an_exception_without_text(desk):
    one = desk()
    one.logs.logger().error("odd", exc_info=BrokenError())
    assert "BrokenError" in one.said()[0]["exception"]


def test_bytes_are_readable_and_redacted(desk):
    one = desk()
    one.logs.logger().info("odd", body=b"key cit_dev_abc_0123456789abcdef")
    assert one.said()[0]["body"] == "b'key cit_[redacted]'"


def test_an_endless_line_is_cut(desk):
    one = desk()
    one.logs.logger("routing-api").info("huge", text="é" * 200_000, password="hunter2")
    (line,) = one.said()
    assert (line["event"], line["listener"], line["cut_from_bytes"] > 400_000) == ("huge", "routing-api", True)
    assert len(one.screen.getvalue()) < 64 * 1024


def test_a_person_gets_columns_and_files_stay_json(desk, tmp_path, lines_of):
    one = desk(format="pretty", directory=tmp_path)
    one.logs.logger().warning("disk low", free_mb=5, api_key="hunter2")
    assert re.search(r"\[warning\s*\] disk low +", one.screen.getvalue())
    assert "free_mb=5" in one.screen.getvalue()
    assert "hunter2" not in one.screen.getvalue()
    assert lines_of(tmp_path / "citadel-edge.log")[0]["event"] == "disk low"


def test_lines_go_to_their_listeners_file_and_to_the_stream(desk, tmp_path, lines_of):
    one = desk(directory=tmp_path / "made" / "here")
    one.logs.logger(ListenerName.ROUTING).info("a")
    one.logs.logger().bind(listener="streaming-api").info("b")
    one.logs.logger().info("c")
    one.logs.logger("../../etc/passwd").info("d")
    found = {path.name: [line["event"] for line in lines_of(path)] for path in (tmp_path / "made" / "here").iterdir()}
    assert found == {"routing-api.log": ["a"], "streaming-api.log": ["b"], "citadel-edge.log": ["c", "d"]}
    assert [line["event"] for line in one.said()] == ["a", "b", "c", "d"]


def test_the_directory_changes_while_it_runs(desk, tmp_path, lines_of):
    one = desk()
    log = one.logs.logger()
    log.info("nowhere")
    for name in ("one", "two"):
        one.logs.reconfigure(LogsConfig(directory=tmp_path / name))
        log.info(name)
    one.logs.reconfigure(LogsConfig())
    log.info("nowhere")
    assert [line["event"] for line in lines_of(tmp_path / "one" / "citadel-edge.log")] == ["one"]
    assert [line["event"] for line in lines_of(tmp_path / "two" / "citadel-edge.log")] == ["two"]
    assert open_below(tmp_path) == []


def test_bytes_on_disk_are_told_by_listener(desk, tmp_path):
    one = desk(directory=tmp_path)
    one.logs.logger("routing-api").info("a")
    sizes = one.logs.bytes_on_disk()
    assert sizes[ListenerName.ROUTING] == (tmp_path / "routing-api.log").stat().st_size
    assert sizes[ListenerName.GRAPHQL] == 0
    assert desk().logs.bytes_on_disk() == {}


def test_a_disk_that_cannot_be_written_is_reported_once_and_work_goes_on(desk, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("no directory")
    one = desk(directory=blocked)
    for n in range(3):
        one.logs.logger().info("work", n=n)
    registry = CollectorRegistry()
    LogMetrics(registry, lost=lambda: one.logs.lost)
    assert [line["event"] for line in one.said()] == ["work", "log file not writable", "work", "work"]
    one.logs.reconfigure(LogsConfig(directory=tmp_path / "elsewhere"))
    assert registry.get_sample_value("citadel_log_lost_lines_total") == one.logs.lost == 3


def test_libraries_are_heard_and_the_root_logger_is_left_as_it_was(desk):
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    one = desk()
    logging.getLogger("aiohttp.server").warning("odd %s", "request")
    try:
        fail("Bearer hunter2")
    except ValueError:
        logging.getLogger("asyncio").exception("task failed")
    logging.getLogger("redis").info("nobody asked")
    one.logs.close()
    logging.getLogger("aiohttp.server").error("after")
    assert (root.level, list(root.handlers)) == before
    first, second = one.said()
    assert (first["event"], first["logger"], first["level"]) == ("odd request", "aiohttp.server", "warning")
    assert "ValueError: Bearer [redacted]" in second["exception"]


def test_a_library_that_logs_wrongly_is_heard_all_the_same(desk):
    one = desk()
    record = logging.LogRecord("odd", logging.WARNING, __file__, 1, "%d of %d", ("one",), None)
    Bridge(one.logs.logger()).handle(record)
    assert (one.said()[0]["text"], one.said()[0]["logger"]) == ("%d of %d", "odd")


@pytest.mark.parametrize(("number", "level"), [(35, "warning"), (200, "critical"), (40, "error"), (30, "warning")])
def test_a_level_between_ours_is_the_one_below(desk, number, level):
    one = desk()
    logging.getLogger("odd").log(number, "x")
    assert one.said()[0]["level"] == level


def test_the_level_holds_for_libraries_too(desk):
    one = desk(level="error")
    logging.getLogger("aiohttp").warning("no")
    logging.getLogger("aiohttp").error("yes")
    assert [line["event"] for line in one.said()] == ["yes"]


async def test_logging_on_the_loop_blocks_nothing_it_may_not(tmp_path, lines_of):
    read, write = os.pipe()
    with os.fdopen(write, "w") as stream, Logs.open(LogsConfig(directory=tmp_path), stream=stream) as logs:
        logs.logger("routing-api").info("a")
        try:
            fail("x")
        except ValueError:
            logs.logger("routing-api").exception("b")
        logs.reopen()
        logs.logger("routing-api").info("c")
        logs.reconfigure(LogsConfig(directory=tmp_path / "other"))
        logs.logger("routing-api").info("d")
    assert [json.loads(line)["event"] for line in os.read(read, 65536).splitlines()] == ["a", "b", "c", "d"]
    os.close(read)
    assert [line["event"] for line in lines_of(tmp_path / "routing-api.log")] == ["a", "b", "c"]


def test_a_process_logs_to_its_standard_error():
    script = (
        "from citadel_edge.telemetry.logs import Logs\n"
        "from citadel_edge.config.shape import LogsConfig\n"
        "import logging\n"
        "with Logs.open(LogsConfig()) as logs:\n"
        "    logs.logger().info('ours')\n"
        "    logging.getLogger('theirs').error('theirs')\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert [json.loads(line)["event"] for line in run.stderr.splitlines()] == ["ours", "theirs"]
    assert run.stdout == ""


def open_below(directory):
    targets = []
    for fd in Path("/proc/self/fd").iterdir():
        try:
            targets.append(fd.readlink())
        except FileNotFoundError:
            continue
    return [target for target in targets if directory in target.parents]
