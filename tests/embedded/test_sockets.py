"""Where sockets may lie."""

import socket
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.embedded.sockets import ADDRESS_BYTES, RECORD, fits, socket_directory
from citadel_edge.errors import StartError

NAME = "part.sock"


def test_a_short_home_keeps_its_own(open_dir: Path) -> None:
    with socket_directory(open_dir, NAME) as directory:
        assert directory == open_dir / "socket"
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700


@pytest.mark.parametrize("folder", ["d" * 120, "with space", "kühl", "a,b", "a%20b"])
def test_a_long_or_odd_home_gets_a_private_place_that_is_removed(open_dir: Path, folder: str) -> None:
    home = open_dir / folder
    home.mkdir()
    with socket_directory(home, NAME) as directory:
        assert fits(directory, NAME)
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        _listen(directory / NAME)
    assert not directory.exists()
    assert not (home / RECORD).exists()


def test_what_a_killed_edge_left_is_removed_by_the_next(open_dir: Path) -> None:
    home = open_dir / ("d" * 120)
    home.mkdir()
    killed = socket_directory(home, NAME)
    left = killed.__enter__()
    _listen(left / NAME)
    with socket_directory(home, NAME) as directory:
        assert directory != left
        assert not left.exists()


def test_a_record_that_names_something_else_removes_nothing(open_dir: Path) -> None:
    precious = open_dir / "citadel-precious"
    precious.mkdir()
    (precious / "file").write_text("kept")
    (open_dir / RECORD).write_text(str(precious))
    with socket_directory(open_dir, NAME):
        assert (precious / "file").read_text() == "kept"


def test_a_link_in_the_place_of_the_record_is_not_followed(open_dir: Path) -> None:
    elsewhere = open_dir / "elsewhere"
    elsewhere.mkdir()
    _listen(elsewhere / NAME)
    link = open_dir / "citadel-link"
    link.symlink_to(elsewhere)
    (open_dir / RECORD).write_text(str(link))
    with socket_directory(open_dir, NAME):
        assert (elsewhere / NAME).exists()


def test_no_short_place_at_all_is_refused(open_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = open_dir / ("d" * 120)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    with pytest.raises(StartError, match="TMPDIR"), socket_directory(deep, NAME):
        pass
    assert list(deep.iterdir()) == [deep / RECORD]


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=130))
def test_only_what_the_kernel_would_bind_fits(folder: str) -> None:
    if fits(Path("/tmp") / folder, NAME):
        assert len(f"/tmp/{folder}/{NAME}".encode()) <= ADDRESS_BYTES


def _listen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
