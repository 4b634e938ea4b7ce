"""Where a part's Unix socket lies.

Decides between the part's own folder and, where that path is too long or odd for a socket address or a URL, a private
directory under the temporary one. Everything here blocks on the disk.
"""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from citadel_edge.errors import StartError

ADDRESS_BYTES = 107  # sun_path without its final NUL, unix(7)
PREFIX = "citadel-"
PLAIN = re.compile(r"[A-Za-z0-9/._-]+")
RECORD = "socket-directory"


@contextmanager
def socket_directory(home: Path, socket_name: str) -> Iterator[Path]:
    """A directory (mode 0700) for the socket `socket_name`; a temporary one is removed at the end.

    What a killed edge left under the temporary directory is found by its record in `home` and removed first.

    Raises:
        StartError: no place is short enough, or none can be written.
    """
    _remove_former(home)
    inside = home / "socket"
    if fits(inside, socket_name):
        inside.mkdir(mode=0o700, exist_ok=True)
        yield inside
        return
    outside = _make_temporary(home, socket_name)
    try:
        yield outside
    finally:
        _remove_former(home)


def fits(directory: Path, socket_name: str) -> bool:
    """Whether a socket there has an address that fits, and no character a URL would have to hide."""
    text = str(directory / socket_name)
    return len(os.fsencode(text)) <= ADDRESS_BYTES and PLAIN.fullmatch(text) is not None


def _make_temporary(home: Path, socket_name: str) -> Path:
    try:
        directory = Path(tempfile.mkdtemp(prefix=PREFIX))
        (home / RECORD).write_text(str(directory))
    except OSError as error:
        raise StartError(f"cannot make a directory for {socket_name} under {tempfile.gettempdir()}: {error}") from error
    if fits(directory, socket_name):
        return directory
    directory.rmdir()
    raise StartError(
        f"neither {home} nor {tempfile.gettempdir()} has a path plain and short enough for a socket "
        f"({ADDRESS_BYTES} bytes with its name): set data_dir or TMPDIR to a shorter one"
    )


def _remove_former(home: Path) -> None:
    """Remove the temporary directory on record: never more than sockets and their locks, never through a link."""
    record = home / RECORD
    try:
        directory = Path(record.read_text().strip())
    except OSError:
        return
    if directory.name.startswith(PREFIX) and directory.is_dir() and not directory.is_symlink():
        for entry in directory.iterdir():
            if entry.is_socket() or entry.name.endswith(".lock"):
                entry.unlink(missing_ok=True)
        with suppress(OSError):
            directory.rmdir()
    record.unlink(missing_ok=True)
