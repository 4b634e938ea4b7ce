import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from citadel_edge.config.shape import Config, ListenerName, default_listeners

SOCKETS = {
    ListenerName.GRAPHQL: "citadel-edge-graphql.socket",
    ListenerName.STREAMING: "citadel-edge-streaming.socket",
    ListenerName.ROUTING: "citadel-edge-routing.socket",
    ListenerName.RATE_LIMITING: "citadel-edge-rate-limiting.socket",
}
HANDLE = "citadel-llm@.service"
EDGE = "citadel-edge.service"
with_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="Debian's systemd is not installed")


def analyze(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environ = {
        **os.environ,
        "SYSTEMD_UNIT_PATH": f"{folder}:/lib/systemd/system:/usr/lib/systemd/system",
        "LC_ALL": "C",
    }
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, env=environ, timeout=60, check=False
    )


def verified(folder: Path) -> str:
    units = [str(path) for path in sorted(folder.iterdir()) if "@." not in path.name]
    done = analyze("verify", *units, folder=folder)
    return f"{done.stdout}{done.stderr}{done.returncode or ''}"


@with_systemd
def test_every_unit_is_clean(placed):
    assert verified(placed) == ""


@with_systemd
@pytest.mark.parametrize(
    ("name", "line", "broken"),
    [
        (EDGE, "Type=notify", "Type=notify\nWachdogSec=3"),
        (EDGE, "MemoryMax=9G", "MemoryMax=much"),
        ("citadel-llm@graphql-api.service", "Type=exec", "Type=exec\nSystemCallFilter=@nothing-of-that-name"),
        ("citadel-edge-graphql.socket", "ListenStream=9095", "ListenStream=909500"),
    ],
)
def test_a_broken_unit_is_not_clean(placed, name, line, broken):
    path = placed / name
    path.write_text(path.read_text().replace(line, broken))
    assert name in verified(placed)


@with_systemd
@pytest.mark.parametrize("name", [EDGE, "citadel-llm@graphql-api.service"])
def test_little_of_the_machine_is_exposed(placed, name):
    done = analyze("security", "--offline=true", str(placed / name), folder=placed)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze judges running units only")
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found is not None, done.stderr
    assert float(found[1]) <= 2.0


@pytest.mark.parametrize("name", ListenerName)
def test_each_listener_has_its_port_and_name_kept(unit, name):
    settings = unit(SOCKETS[name])
    assert settings["Socket.FileDescriptorName"] == [name.value]
    assert settings["Socket.ListenStream"] == [str(default_listeners()[name].port)]
    assert settings["Socket.Service"] == [EDGE]


def test_the_process_takes_all_four_sockets_and_starts_all_four_handles(unit):
    settings = unit(EDGE)
    assert set(" ".join(settings["Service.Sockets"]).split()) == set(SOCKETS.values())
    assert {f"citadel-llm@{name.value}.service" for name in ListenerName} <= set(
        " ".join(settings["Unit.Wants"]).split()
    )


def test_systemd_waits_longer_than_the_drain_takes(unit):
    grace_s = Config().process.grace_s
    assert float(unit(EDGE)["Service.TimeoutStopSec"][0]) >= 2 * grace_s


def test_the_process_is_bounded_and_watched(unit):
    settings = unit(EDGE)
    assert settings["Service.Type"] == ["notify"]
    assert settings["Service.MemoryMax"] == ["9G"]
    assert float(settings["Service.WatchdogSec"][0]) > 0
    assert settings["Service.ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert settings["Service.RestartPreventExitStatus"] == ["2"]


def test_the_handle_lives_and_dies_with_the_process(unit):
    settings = unit(HANDLE)
    assert settings["Unit.PartOf"] == settings["Unit.BindsTo"] == settings["Unit.After"] == [EDGE]
    verbs = {key: " ".join(unit(HANDLE)[f"Service.{key}"]) for key in ("ExecStartPre", "ExecStart", "ExecStop")}
    assert "listener start %i" in verbs["ExecStartPre"]
    assert "listener attach %i" in verbs["ExecStart"]
    assert "listener stop %i" in verbs["ExecStop"]
