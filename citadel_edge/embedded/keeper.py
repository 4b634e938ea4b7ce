"""A keeper: one small process that holds one child and does not outlive the edge by more than the child's grace.

Run as a script of its own, with the standard library alone: `python -I -S keeper.py SIGNAL GRACE_S IDENTITY DIRECTORY
COMMAND…`. Its standard input is a pipe whose other end the edge alone holds: end of file means that the edge wants the
child stopped or is gone, however it went. Then the child gets SIGNAL, and after GRACE_S seconds SIGKILL. The keeper's
own death kills the child (PR_SET_PDEATHSIG), and what a dead child leaves behind falls to the keeper (a subreaper), who
ends it.

It decides when the child must go. It refuses to know what the child is, and whether it should be started again.
"""

import ctypes
import os
import select
import signal
import sys
import time
from typing import NamedTuple, NoReturn

LIFELINE = 0
EXIT_IDENTITY = 120
EXIT_DIRECTORY = 121
EXIT_COMMAND = 122

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
CLONE_NEWUSER = 0x10000000

FROM_THE_TERMINAL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
BURIAL_S = 5.0


class Order(NamedTuple):
    """What to keep. `identity` is `self`, `namespace:UID:GID` (inside) or `user:UID:GID`."""

    stop_signal: int
    grace_s: float
    identity: str
    directory: str
    command: list[str]


class SetUpError(Exception):
    """The child cannot be started so; carries the exit code that says which step refused."""

    def __init__(self, exit_code: int, error: OSError) -> None:
        super().__init__(str(error))
        self.exit_code = exit_code


def main(arguments: list[str]) -> int:
    """Keep one child to its end; the child's exit code, 128 + signal if it was killed."""
    stop_signal, grace_s, identity, directory, *command = arguments
    return keep(Order(int(stop_signal), float(grace_s), identity, directory, command))


def keep(order: Order) -> int:
    """Start the child, wait for its end or the edge's, leave nothing behind."""
    for number in FROM_THE_TERMINAL:
        signal.signal(number, signal.SIG_IGN)
    wake = _wake_on_child_death()
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    keeper = os.getpid()
    # Held back until the child has put off our deafness: else a stop that comes at once would be lost on it.
    signal.pthread_sigmask(signal.SIG_BLOCK, FROM_THE_TERMINAL)
    child = os.fork()
    if child == 0:
        _become(order, keeper)
    status = _wait_for(child, wake, lifeline=True, until=None)
    if status is None:
        status = _stop(child, order, wake)
    _bury(child)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _wake_on_child_death() -> int:
    """A descriptor that becomes readable when a child dies. Works where pidfds are forbidden."""
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    os.set_blocking(write_end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    return read_end


def _wait_for(child: int, wake: int, *, lifeline: bool, until: float | None) -> int | None:
    """The child's wait status; None when the lifeline ended or the time (monotonic seconds) came first."""
    poll = select.poll()
    poll.register(wake, select.POLLIN)
    if lifeline:
        poll.register(LIFELINE, select.POLLIN | select.POLLHUP)
    while True:
        left_ms = None if until is None else max(0.0, until - time.monotonic()) * 1000
        ready = [descriptor for descriptor, _ in poll.poll(left_ms)]
        if wake in ready:
            os.read(wake, 4096)
        if (status := _reap(child)) is not None:
            return status
        if not ready or LIFELINE in ready:
            return None


def _reap(child: int) -> int | None:
    """Take in every dead child, adopted ones too; the status of `child` if it was among them."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == child:
            found = status


def _stop(child: int, order: Order, wake: int) -> int:
    """Ask, wait, kill; the child's wait status."""
    os.kill(child, order.stop_signal)
    status = _wait_for(child, wake, lifeline=False, until=time.monotonic() + order.grace_s)
    while status is None:
        os.kill(child, signal.SIGKILL)
        status = _wait_for(child, wake, lifeline=False, until=time.monotonic() + 1.0)
    return status


def _bury(child: int) -> None:
    """Kill what the dead child left: its process group, and what fell to us when it died."""
    _kill(-child)
    until = time.monotonic() + BURIAL_S
    while (orphans := _children()) and time.monotonic() < until:
        for orphan in orphans:
            _kill(orphan)
        _reap(child)
        time.sleep(0.005)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _children() -> list[int]:
    """Our direct children, by the parent's number in each process's `stat` (present in every kernel)."""
    me = str(os.getpid())
    entries = os.listdir("/proc")  # noqa: PTH208 - pathlib costs the keeper more memory than all the rest
    return [int(entry) for entry in entries if entry.isdigit() and _parent(entry) == me]


def _parent(pid: str) -> str | None:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:  # noqa: PTH123 - as above
            return stat.read().rpartition(")")[2].split()[1]
    except (OSError, IndexError):
        return None


def _become(order: Order, keeper: int) -> NoReturn:
    """In the forked child: own session, own identity, bound to the keeper's life, then the command itself."""
    code = EXIT_COMMAND
    try:
        _set_up(order, keeper)
        os.execv(order.command[0], order.command)  # noqa: S606 - the edge's own order
    except SetUpError as error:
        code = error.exit_code
        _say(f"cannot start as {order.identity}: {error}")
    except OSError as error:
        _say(f"cannot run {order.command[0]}: {error}")
    finally:
        os._exit(code)


def _say(text: str) -> None:
    """A line for the child's log; in a forked process straight to the descriptor."""
    os.write(2, f"keeper: {text}\n".encode())


def _set_up(order: Order, keeper: int) -> None:
    signal.set_wakeup_fd(-1)
    for number in (*FROM_THE_TERMINAL, signal.SIGCHLD, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FROM_THE_TERMINAL)
    os.setsid()
    os.umask(0o077)
    os.dup2(os.open(os.devnull, os.O_RDONLY), LIFELINE)
    _assume(order.identity)
    _enter(order.directory)
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # after the identity: a change of it clears the wish
    if os.getppid() != keeper:
        os._exit(EXIT_COMMAND)  # the keeper died before it could be our end


def _assume(identity: str) -> None:
    kind, _, numbers = identity.partition(":")
    if kind == "self":
        return
    uid, gid = (int(number) for number in numbers.split(":"))
    try:
        if kind == "namespace":
            _enter_namespace(uid, gid)
        else:
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
    except OSError as error:
        raise SetUpError(EXIT_IDENTITY, error) from error


def _enter_namespace(uid: int, gid: int) -> None:
    """A user namespace in which our own uid and gid are called `uid` and `gid` (user_namespaces(7))."""
    outside_uid, outside_gid = os.geteuid(), os.getegid()
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWUSER): " + os.strerror(ctypes.get_errno()))
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{uid} {outside_uid} 1")
    _write("/proc/self/gid_map", f"{gid} {outside_gid} 1")


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _enter(directory: str) -> None:
    try:
        os.chdir(directory)
    except OSError as error:
        raise SetUpError(EXIT_DIRECTORY, error) from error


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
