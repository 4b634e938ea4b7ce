"""The model's file: whole or not there."""

import errno
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from citadel_edge.embedded.model import Chunks, assemble, find_chunks
from citadel_edge.errors import StartError

PIECES = (b"one" * 1000, b"two" * 1000, b"three")
WHOLE = b"".join(PIECES)


@pytest.fixture
def chunks(tmp_path: Path) -> Chunks:
    return _chunks(tmp_path, PIECES)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def test_the_pieces_make_the_whole(chunks: Chunks, folder: Path) -> None:
    assert assemble(chunks, folder, _quiet).read_bytes() == WHOLE
    assert sorted(path.name for path in folder.iterdir()) == ["model.gguf", "model.gguf.json"]


def test_progress_grows_to_a_hundred(tmp_path: Path, folder: Path) -> None:
    told: list[int] = []
    assemble(_chunks(tmp_path, [b"x" * 2**20] * 7), folder, told.append)
    assert told == sorted(set(told))
    assert told[-1] == 100


def test_a_whole_model_is_known_again_and_not_read(chunks: Chunks, folder: Path) -> None:
    whole = assemble(chunks, folder, _quiet)
    inode = whole.stat().st_ino
    for piece in chunks.paths:
        piece.write_bytes(b"")  # would make another model, were they read
    assert assemble(chunks, folder, _unexpected).stat().st_ino == inode


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: os.truncate(folder / "model.gguf", 100),
        lambda folder: (folder / "model.gguf").write_bytes(b"!" * len(WHOLE)),
        lambda folder: (folder / "model.gguf").unlink(),
        lambda folder: (folder / "model.gguf.json").unlink(),
        lambda folder: (folder / "model.gguf.json").write_text('{"sha'),
        lambda folder: (folder / "model.gguf.json").write_text("[]"),
    ],
    ids=["torn", "changed", "gone", "unmarked", "torn mark", "strange mark"],
)
def test_a_spoilt_model_is_made_anew(chunks: Chunks, folder: Path, spoil: "object") -> None:
    assemble(chunks, folder, _quiet)
    assert callable(spoil)
    spoil(folder)
    assert assemble(chunks, folder, _quiet).read_bytes() == WHOLE


@settings(max_examples=30)
@given(cut=st.integers(0, len(WHOLE)))
def test_an_attempt_torn_anywhere_is_made_anew(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    place = tmp_path_factory.mktemp("torn")
    (place / "model.gguf.part").write_bytes(WHOLE[:cut])
    assert assemble(_chunks(place, PIECES), place, _quiet).read_bytes() == WHOLE
    assert not (place / "model.gguf.part").exists()


def test_another_model_of_the_same_name_replaces_it(tmp_path: Path, chunks: Chunks, folder: Path) -> None:
    assemble(chunks, folder, _quiet)
    other = _chunks(tmp_path, [b"new"])
    assert assemble(other, folder, _quiet).read_bytes() == b"new"


def test_damaged_pieces_are_refused_and_leave_nothing(chunks: Chunks, folder: Path) -> None:
    chunks.paths[1].write_bytes(b"twX" * 1000)
    with pytest.raises(StartError, match="--force-reinstall"):
        assemble(chunks, folder, _quiet)
    assert list(folder.iterdir()) == []


def test_a_disk_without_room_is_refused_before_it_is_filled(chunks: Chunks, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    os.truncate(chunks.paths[0], free + 2**30)  # a sparse piece larger than the disk
    with pytest.raises(StartError, match="no room for the model") as refused:
        assemble(chunks, folder, _unexpected)
    assert str(folder) in str(refused.value)
    assert list(folder.iterdir()) == []


def test_a_disk_that_fills_on_the_way_is_refused_and_leaves_nothing(chunks: Chunks, folder: Path) -> None:
    """A limit on the size of files stands in for the full disk: the write fails, the room was there."""
    script = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from citadel_edge.embedded.model import Chunks, assemble\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        f"chunks = Chunks({[str(path) for path in chunks.paths]!r}, {chunks.name!r}, {chunks.sha256!r})\n"
        "chunks = Chunks(tuple(map(Path, chunks.paths)), chunks.name, chunks.sha256)\n"
        f"assemble(chunks, Path({str(folder)!r}), lambda percent: None)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert "StartError: no room for the model" in ended.stderr
    assert os.strerror(errno.EFBIG) in ended.stderr
    assert list(folder.iterdir()) == []


def test_the_installed_wheels_are_found() -> None:
    chunks = find_chunks()
    assert chunks.size > 200 * 2**20
    assert len(chunks.sha256) == 64


def _chunks(place: Path, pieces: "list[bytes] | tuple[bytes, ...]") -> Chunks:
    paths = tuple(place / f"piece{number}" for number in range(len(pieces)))
    for path, piece in zip(paths, pieces, strict=True):
        path.write_bytes(piece)
    return Chunks(paths, "model.gguf", hashlib.sha256(b"".join(pieces)).hexdigest())


def _quiet(percent: int) -> None:
    assert 0 <= percent <= 100


def _unexpected(percent: int) -> None:
    raise AssertionError(f"made anew: {percent} %")
