"""A small machine whose first process is the real systemd, in namespaces of its own, with the units installed.

Nothing of it reaches the machine around: its root is a tmpfs, the rest is read-only, its processes end with it.
It needs root, cgroup2 and the right to make namespaces.
"""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
SOURCE = HERE.parent
NAMESPACES = ("--pid", "--fork", "--kill-child", "--mount", "--cgroup", "--net", "--uts", "--ipc")
SYSTEMD = Path("/usr/lib/systemd/systemd")
CLIENT = """
import sys, urllib.error, urllib.request
try:
    answer = urllib.request.urlopen(sys.argv[1], timeout=20)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status, answer.read().decode())
"""


class Machine:
    """The inside, as root sees it there."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def run(self, *command: str, timeout_s: float = 60, given: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command inside and wait for it."""
        return subprocess.run(
            self.inside(*command), capture_output=True, text=True, timeout=timeout_s, check=False, input=given
        )

    def inside(self, *command: str) -> list[str]:
        """The command as it is called from outside."""
        return ["nsenter", f"--target={self.pid}", *("-m", "-p", "-n", "-u", "-i", "-C", "-r", "-w"), "--", *command]

    def systemctl(self, *arguments: str) -> str:
        """What systemctl prints; its failure is the test's."""
        done = self.run("systemctl", "--no-pager", *arguments)
        assert done.returncode == 0, f"systemctl {' '.join(arguments)}: {done.stderr}\n{self.journal()}"
        return done.stdout.strip()

    def state(self, unit: str) -> str:
        return self.run("systemctl", "is-active", unit).stdout.strip()

    def property(self, name: str, unit: str = "citadel-edge.service") -> str:
        return self.run("systemctl", "show", f"--property={name}", "--value", unit).stdout.strip()

    def journal(self, unit: str = "citadel-edge.service") -> str:
        return self.run("journalctl", "--no-pager", "--output=cat", f"--unit={unit}").stdout

    def python(self, source: str, *arguments: str) -> list[str]:
        """A call of the interpreter inside."""
        interpreter = ("env", "PYTHONHOME=/opt/python", "LD_LIBRARY_PATH=/opt/python/lib", f"/opt/python/bin/{PYTHON}")
        return [*interpreter, "-c", source, *arguments]

    def get(self, port: int, path: str) -> str:
        """Status and body of a GET from inside."""
        done = self.run(*self.python(CLIENT, f"http://127.0.0.1:{port}{path}"))
        assert done.returncode == 0, done.stderr
        return done.stdout

    def eventually(self, fact: Callable[[], bool], *, within_s: float = 40) -> None:
        """Wait until a fact holds."""
        deadline = time.monotonic() + within_s
        while not fact():
            assert time.monotonic() < deadline, self.journal()[-3000:]
            time.sleep(0.1)


PYTHON = Path(sys.executable).resolve().name


def objection() -> str | None:
    """Why no such machine can be had here, if so."""
    if os.geteuid() != 0:
        return "only root can start a machine of its own"
    if missing := [name for name in ("unshare", "nsenter", "systemctl", "journalctl") if shutil.which(name) is None]:
        return f"not installed: {', '.join(missing)}"
    if not SYSTEMD.exists():
        return f"{SYSTEMD} is not installed"
    if _cgroup() is None:
        return "no cgroup2 that may be written to"
    probe = subprocess.run(["unshare", *NAMESPACES, "true"], capture_output=True, text=True, check=False, timeout=20)
    return probe.stderr.strip() if probe.returncode else None


def _cgroup() -> Path | None:
    """Our own place in the cgroup2 hierarchy, if we may make a group below it."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    ours = [line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")]
    for mount in mounts:
        place = Path(mount[1] + ours[0]) if ours else Path(mount[1])
        if mount[2] == "cgroup2" and os.access(place, os.W_OK) and "rw" in mount[3].split(","):
            return place
    return None


@contextmanager
def booted(folder: Path) -> Iterator[Machine]:
    """A machine that is up; gone, with all of its processes and groups, when the context is left."""
    place = _cgroup()
    assert place is not None
    group = place / f"citadel-test-{os.getpid()}"
    group.mkdir()
    try:
        with _started(folder, group) as outer:
            yield Machine(_first_child(outer, folder))
    finally:
        _remove(group)


@contextmanager
def _started(folder: Path, group: Path) -> Iterator[subprocess.Popen[bytes]]:
    root = folder / "root"
    root.mkdir()
    site, prefix = sysconfig.get_path("purelib"), sys.base_prefix
    boot = [HERE / "systemd" / "machine.sh", root, SOURCE / "systemd", SOURCE, site, prefix, PYTHON]
    script = 'echo $$ > "$0/cgroup.procs" && exec unshare "$@"'
    command = ["sh", "-c", script, str(group), *NAMESPACES, *map(str, boot)]
    with (folder / "console.log").open("wb") as console:
        outer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
    try:
        yield outer
    finally:
        outer.send_signal(signal.SIGKILL)
        outer.wait()


def _first_child(outer: subprocess.Popen[bytes], folder: Path) -> int:
    """Systemd's pid as seen from here, once it answers."""
    listing = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and outer.poll() is None:
        if pids := listing.read_text().split():
            machine = Machine(int(pids[0]))
            if machine.run("systemctl", "is-active", "basic.target").stdout.strip() == "active":
                return machine.pid
        time.sleep(0.1)
    raise AssertionError(f"systemd did not come up:\n{(folder / 'console.log').read_text()}")


def _remove(group: Path) -> None:
    """Take the groups away; those who were in them are dead or dying."""
    deadline = time.monotonic() + 20
    while group.exists():
        try:
            for path in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
                path.rmdir()
            group.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
