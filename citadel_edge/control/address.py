"""Where the control socket is: binding it, connecting to it, whose process is at the other end.

A path longer than the 107 bytes of a socket address is reached through its folder's descriptor in /proc. The file is
mode 0600 before anybody can connect. A socket that a dead process left is replaced; a living one never.
"""

import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from citadel_edge.errors import StartError

MAX_ADDRESS_BYTES = 107
_PEER = struct.Struct("3i")


@dataclass(frozen=True, slots=True)
class Place:
    """A socket and the file it was bound to. `inode` tells that file from a later one of the same name."""

    sock: socket.socket
    path: Path
    inode: int

    def release(self) -> None:
        """Take the file away, unless somebody else's is there by now. The socket is its server's to close."""
        with suppress(FileNotFoundError):
            if self.path.lstat().st_ino == self.inode:
                self.path.unlink()


def bind(path: Path) -> Place:
    """Bind, not yet listen, at `path`. Blocks on the disk for a moment.

    Raises:
        StartError: another process answers there, the path is no socket, or the folder refuses.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        return _bind(sock, path)
    except OSError as error:
        sock.close()
        raise StartError(f"control socket {path}: {error.strerror or error}") from error
    except BaseException:
        sock.close()
        raise


def _bind(sock: socket.socket, path: Path) -> Place:
    _make_room(path)
    with reachable(path) as address:
        sock.bind(address)
    path.chmod(0o600)
    return Place(sock, path, path.lstat().st_ino)


def _make_room(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise StartError(f"control socket {path}: something else than a socket is there; move it away")
    if is_alive(path):
        raise StartError(f"control socket {path}: another process answers there; give each its own data_dir")
    path.unlink()


def is_alive(path: Path) -> bool:
    """Whether a process listens at `path`; a full queue counts as one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe, reachable(path) as address:
        try:
            probe.connect(address)
        except BlockingIOError:
            return True
        except (ConnectionRefusedError, FileNotFoundError):
            return False
    return True


@contextmanager
def reachable(path: Path) -> Iterator[str]:
    """An address for `path` that fits a socket address, valid within the context."""
    if len(os.fsencode(path)) <= MAX_ADDRESS_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def peer_uid(sock: socket.socket) -> int:
    """The user id of the process at the other end (SO_PEERCRED, see unix(7))."""
    _pid, uid, _gid = _PEER.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return int(uid)


def may_steer(peer: int, *, own: int) -> bool:
    """Whether a user id may give commands: root, and the user that the process runs as."""
    return peer in {0, own}
