"""As whom PostgreSQL runs: it refuses to be root, and initdb wants a uid with an entry in the list of users.

Decides by trying. For root: a user namespace in which root is called by another number, then an unprivileged user. For
an ordinary user: itself, or, where it has no name, a namespace that lends it one. Changes owners and modes inside the
data directory alone, and no users of the machine. Everything here blocks; call it in a thread.
"""

import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from citadel_edge.embedded import keeper
from citadel_edge.errors import StartError

NOBODY = 65534
PRIVATE_GIDS = range(64900, 65000)
TRIAL_S = 30.0


class As(StrEnum):
    """The ways to be someone: oneself, root by another name in a user namespace, an unprivileged user."""

    SELF = "self"
    NAMESPACE = "namespace"
    USER = "user"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a child is. `order` is for the keeper; `uid` and `gid` are who owns its files, seen from here."""

    kind: As
    order: str
    uid: int
    gid: int


def candidates(forced: As | None = None) -> tuple[Identity, ...]:
    """Who to try to be, best first; only `forced` where that is given."""
    ways: dict[As, Callable[[], Identity]] = {As.SELF: _myself, As.NAMESPACE: _namespace, As.USER: _unprivileged}
    if forced is not None:
        return (ways[forced](),)
    if os.geteuid() == 0:
        return (_namespace(), _unprivileged())
    return (_myself(),) if _has_name(os.geteuid()) else (_namespace(),)


@dataclass(frozen=True, slots=True)
class Ground:
    """Where the child lives: its home, the folder of its sockets, its program. Its files are in `home/data`."""

    home: Path
    sockets: Path
    program: Path

    @property
    def data(self) -> Path:
        """What the child alone writes and must own."""
        return self.home / "data"


def choose(identities: tuple[Identity, ...], ground: Ground) -> tuple[Identity, str]:
    """The first identity that can enter its home and run `program --version` there, and what that said.

    The ground is then its own.

    Raises:
        StartError: none can; says why each could not and what to do.
    """
    refusals = []
    for identity in identities:
        try:
            _hand_over(identity, ground)
            return identity, _try(identity, ground)
        except OSError as error:
            refusals.append(f"as {identity.order}: {error}")
    raise StartError(
        "the embedded PostgreSQL cannot run here; it refuses to be root and wants a user with a name ("
        + "; ".join(refusals)
        + "): start the edge as an ordinary user, or set data_dir to a place that every user may reach, "
        "or set postgres.dsn to a server of your own"
    )


def _myself() -> Identity:
    uid, gid = os.geteuid(), os.getegid()
    return Identity(As.SELF, "self", uid, gid)


def _namespace() -> Identity:
    inside = _named_uid()
    return Identity(As.NAMESPACE, f"namespace:{inside}:{inside}", os.geteuid(), os.getegid())


def _unprivileged() -> Identity:
    """The machine's nobody, but in a group of our own: what the group may enter stays closed to other nobodies."""
    uid, gid = _named_uid(), _free_gid()
    return Identity(As.USER, f"user:{uid}:{gid}", uid, gid)


def _named_uid() -> int:
    """A uid other than root's that has a name here: nobody's if there is one."""
    if _has_name(NOBODY):
        return NOBODY
    return next((entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid != 0), NOBODY)


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _free_gid() -> int:
    import grp  # noqa: PLC0415 - asked once, and only as root

    taken = {entry.gr_gid for entry in grp.getgrall()}
    return next(gid for gid in PRIVATE_GIDS if gid not in taken)


def _hand_over(identity: Identity, ground: Ground) -> None:
    """Let the identity into its home and make its files its own."""
    if identity.kind is As.USER:
        _let_pass(ground.home.parent, identity.gid)
    for folder in (ground.home, ground.sockets):
        _open_to(identity, folder)
    if ground.data.exists() and ground.data.stat().st_uid != identity.uid:
        for path in _all_in(ground.data):
            os.chown(path, identity.uid, identity.gid, follow_symlinks=False)


def _open_to(identity: Identity, folder: Path) -> None:
    """A folder in which the identity may write: ours and its private group's, else ours alone."""
    if identity.kind is As.USER:
        os.chown(folder, os.geteuid(), identity.gid)
        folder.chmod(0o770)
    else:
        os.chown(folder, identity.uid, identity.gid)
        folder.chmod(0o700)


def _let_pass(data_dir: Path, gid: int) -> None:
    """Let group `gid` walk through the data directory, not read it; one that is open to a group keeps its group."""
    status = data_dir.stat()
    mode = stat.S_IMODE(status.st_mode)
    if mode & stat.S_IRWXG and status.st_gid != gid:
        data_dir.chmod(mode | stat.S_IXOTH)
        return
    os.chown(data_dir, -1, gid)
    data_dir.chmod(mode | stat.S_IXGRP)


def _all_in(top: Path) -> Iterator[Path]:
    yield top
    for folder, folders, files in os.walk(top):
        yield from (Path(folder, name) for name in (*folders, *files))


def _try(identity: Identity, ground: Ground) -> str:
    """What the program says of its version when that identity asks, from inside its home."""
    order = ("9", "1", identity.order, str(ground.home), str(ground.program), "--version")
    command = (sys.executable, "-I", "-S", keeper.__file__, *order)
    lifeline, held = os.pipe()
    try:
        run = subprocess.run(command, stdin=lifeline, capture_output=True, text=True, timeout=TRIAL_S, check=False)  # noqa: S603
    except subprocess.TimeoutExpired as late:
        raise TimeoutError(f"no answer within {TRIAL_S:.0f} s") from late
    finally:
        os.close(lifeline)
        os.close(held)
    if run.returncode != 0:
        raise PermissionError(run.stderr.strip() or f"exit code {run.returncode}")
    return run.stdout.strip()
