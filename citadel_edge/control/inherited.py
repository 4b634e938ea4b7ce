"""Listening sockets that a service manager opened before the process was there: sd_listen_fds(3).

They keep their backlog across a restart, so that a client waits instead of being refused. Decides which descriptors are
the process's; refuses to know what is served on them.
"""

import os
import socket
from collections.abc import MutableMapping

from citadel_edge.errors import StartError

FIRST_FD = 3


def inherited_sockets(environ: MutableMapping[str, str]) -> dict[str, socket.socket]:
    """Take the sockets that were passed, by their `FileDescriptorName=`, and remove the protocol's variables.

    They become non-blocking and are closed on exec; the caller owns them. Variables meant for another process are
    left to nobody.

    Raises:
        StartError: a descriptor is no listening stream socket, or two have the same name.
    """
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()) or not count.isdecimal():
        return {}
    sockets: dict[str, socket.socket] = {}
    for index in range(int(count)):
        name = names[index] if index < len(names) and names[index] else "unknown"
        if name in sockets:
            raise StartError(
                f"two inherited sockets are named {name!r}: one socket unit a listener, one address a unit"
            )
        sockets[name] = _adopt(FIRST_FD + index, name)
    return sockets


def _adopt(fd: int, name: str) -> socket.socket:
    os.set_inheritable(fd, False)
    try:
        sock = socket.socket(fileno=fd)
    except OSError as error:
        raise StartError(f"inherited descriptor {fd} ({name}) is no socket: {error.strerror}") from error
    if sock.type != socket.SOCK_STREAM or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise StartError(f"inherited socket {name!r} does not listen: use ListenStream= and Accept=no")
    sock.setblocking(False)
    return sock
