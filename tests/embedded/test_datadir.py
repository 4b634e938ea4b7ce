"""Who may use a data directory."""

import os
import stat
from pathlib import Path

import pytest

from citadel_edge.embedded.datadir import locked
from citadel_edge.errors import StartError


def test_it_is_made_private(tmp_path: Path) -> None:
    with locked(tmp_path / "deep" / "var") as data:
        assert stat.S_IMODE(data.path.stat().st_mode) == 0o700
        assert stat.S_IMODE(data.folder("models").stat().st_mode) == 0o700


def test_a_relative_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with locked(Path("var")) as data:
        assert data.path == tmp_path / "var"


def test_a_second_holder_is_told_the_path_and_the_first_ones_pid(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(StartError) as refused, locked(tmp_path):
        pass
    assert str(tmp_path) in str(refused.value)
    assert str(os.getpid()) in str(refused.value)


def test_it_is_free_again_afterwards(tmp_path: Path) -> None:
    for _ in range(2):
        with locked(tmp_path):
            pass


def test_a_longer_pid_of_a_former_holder_leaves_no_digits(tmp_path: Path) -> None:
    (tmp_path / "edge.lock").write_text("99999999999\n")
    with locked(tmp_path):
        assert (tmp_path / "edge.lock").read_text() == f"{os.getpid()}\n"


def test_a_place_that_cannot_be_a_directory_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="file/var") as refused, locked(tmp_path / "file" / "var"):
        pass
    assert "data_dir" in str(refused.value)


def test_folders_that_cannot_be_made_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("")
    with locked(tmp_path) as data, pytest.raises(StartError, match="models"):
        data.folder("models")
