"""The runbook on the real systemd."""

import subprocess

import pytest

from systemd_machine import booted, objection

EDGE = "citadel-edge.service"
HANDLE = "citadel-llm@graphql-api.service"
HANDLES = [
    f"citadel-llm@{name}.service" for name in ("graphql-api", "streaming-api", "routing-api", "rate-limiting-api")
]
CLIENTS = """
import os, sys, threading, time, urllib.request
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
print("began", flush=True)
while True:
    try:
        print(urllib.request.urlopen("http://127.0.0.1:9095/health/live", timeout=30).status, flush=True)
    except Exception as error:
        print(repr(error), flush=True)
    time.sleep(0.01)
"""

pytestmark = [pytest.mark.timeout(180), pytest.mark.skipif(bool(objection()), reason=str(objection()))]


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    with booted(tmp_path_factory.mktemp("machine")) as machine:
        yield machine


@pytest.fixture
def running(machine):
    """The edge and its handles are up, whatever the test before left."""
    machine.systemctl("reset-failed")
    machine.systemctl("start", EDGE)
    machine.eventually(lambda: all(machine.state(handle) == "active" for handle in HANDLES))
    for handle in HANDLES:
        machine.systemctl("start", handle)
    return machine


def test_the_process_serves_on_the_four_sockets_and_shows_its_handles(running):
    assert running.state(EDGE) == "active"
    assert running.property("StatusText").startswith("serving: graphql-api running")
    for port in range(9095, 9099):
        assert running.get(port, "/health/live").startswith("200 ")
    assert "citadel-llm@routing-api.service" in running.systemctl("status", "citadel-llm@routing-api.service")


def test_a_handle_stops_and_starts_its_listener_alone(running):
    running.systemctl("stop", HANDLE)
    assert running.get(9095, "/health/ready").startswith("503 ")
    assert running.get(9096, "/health/live").startswith("200 ")
    assert running.state(HANDLE) == "inactive"
    running.systemctl("start", HANDLE)
    running.eventually(lambda: running.get(9095, "/health/ready").startswith("200 "))


def test_the_journal_of_a_handle_has_its_listeners_lines(running):
    running.systemctl("stop", "citadel-llm@streaming-api.service")
    running.systemctl("start", "citadel-llm@streaming-api.service")
    running.systemctl("stop", "citadel-llm@streaming-api.service")
    assert '"state":"stopped"' in running.journal("citadel-llm@streaming-api.service")
    assert '"listener":"graphql-api"' not in running.journal("citadel-llm@streaming-api.service")


def test_the_death_of_a_log_reader_stops_no_listener(running):
    before = running.journal().count('"listener":"graphql-api","state":"stopped"')
    pid = running.property("MainPID", HANDLE)
    running.systemctl("kill", "--signal=KILL", HANDLE)
    running.eventually(lambda: running.property("MainPID", HANDLE) not in {pid, "0"})
    assert running.journal().count('"listener":"graphql-api","state":"stopped"') == before


def test_a_restart_refuses_nobody(running):
    call = running.inside(*running.python(CLIENTS))
    with subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as clients:
        assert clients.stdout is not None
        assert clients.stdout.readline() == "began\n"
        running.systemctl("restart", EDGE)
        running.get(9095, "/health/live")
        answers, _ = clients.communicate(timeout=60)
    assert set(answers.split("\n")) <= {"200", ""}
    assert answers.count("200") > 5


def test_a_reload_keeps_the_process(running):
    pid = running.property("MainPID")
    running.systemctl("reload", EDGE)
    running.eventually(lambda: running.state(EDGE) == "active")
    assert running.property("MainPID") == pid


def test_a_killed_process_comes_back_with_its_handles(running):
    pid = running.property("MainPID")
    running.systemctl("kill", "--kill-whom=main", "--signal=KILL", EDGE)
    running.eventually(lambda: running.property("MainPID") not in {pid, "0"} and running.state(EDGE) == "active")
    running.eventually(lambda: all(running.state(handle) == "active" for handle in HANDLES))
    assert running.get(9097, "/health/live").startswith("200 ")


@pytest.fixture
def impatient(running):
    """A watchdog that is not worth waiting for is made shorter for a while."""
    folder = f"/etc/systemd/system/{EDGE}.d"
    running.run("install", "-D", "/dev/stdin", f"{folder}/watchdog.conf", given="[Service]\nWatchdogSec=4\n")
    running.systemctl("daemon-reload")
    running.systemctl("restart", EDGE)
    yield running
    running.run("rm", "-r", folder)
    running.systemctl("daemon-reload")
    running.systemctl("stop", EDGE)


def test_a_frozen_process_is_replaced(impatient):
    pid = impatient.property("MainPID")
    impatient.systemctl("kill", "--kill-whom=main", "--signal=STOP", EDGE)
    impatient.eventually(lambda: impatient.property("MainPID") not in {pid, "0"} and impatient.state(EDGE) == "active")
    assert impatient.property("NRestarts") == "1"


def test_a_stop_is_clean_and_leaves_no_process(running):
    running.systemctl("stop", EDGE)
    assert running.property("Result") == "success"
    assert running.property("ExecMainStatus") == "0"
    assert [running.state(handle) for handle in HANDLES] == ["inactive"] * 4
    assert running.run("ps", "-u", "citadel", "-o", "args=").stdout == ""
