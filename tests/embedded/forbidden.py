"""Run a command as root of a user namespace in which no further one may be made, as hardened machines have it.

`forbidden.py UIDS COMMAND…`: UIDS is how many of the machine's uids exist inside, from 0 on. Outside stays as it is.
"""

import ctypes
import os
import sys
from pathlib import Path

CLONE_NEWUSER = 0x10000000


def main(uids: str, *command: str) -> None:
    me = os.getpid()
    left, entered = os.pipe()
    mapper = os.fork()
    if mapper == 0:
        os.read(left, 1)
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{me}/{name}").write_text(f"0 0 {uids}")
        os._exit(0)
    if ctypes.CDLL(None).unshare(CLONE_NEWUSER) != 0:
        sys.exit("no user namespaces here")
    os.write(entered, b".")
    os.waitpid(mapper, 0)
    Path("/proc/sys/user/max_user_namespaces").write_text("0")
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
