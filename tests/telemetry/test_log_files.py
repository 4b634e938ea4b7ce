import os
import threading

import pytest

from citadel_edge.telemetry.log_files import LogFile


@pytest.fixture
def reports():
    return []


@pytest.fixture
def file(tmp_path, clock, reports):
    made = LogFile(tmp_path / "logs" / "a.log", clock, lambda event, fields: reports.append((event, fields)))
    yield made
    made.close()


def rotate(path):
    path.rename(path.with_suffix(".1"))
    return path.with_suffix(".1")


def test_lines_are_appended_to_what_stands(file):
    file.path.parent.mkdir()
    file.path.write_bytes(b"before\n")
    file.write(b"after\n")
    assert file.path.read_bytes() == b"before\nafter\n"
    assert file.size() == 13


def test_a_renamed_file_is_noticed_within_a_second_of_lines(file, clock):
    file.write(b"1\n")
    old = rotate(file.path)
    file.write(b"2\n")
    clock.advance(1.1)
    file.write(b"3\n")
    assert (old.read_bytes(), file.path.read_bytes()) == (b"1\n2\n", b"3\n")


def test_rename_and_create_is_noticed_too(file, clock):
    file.write(b"1\n")
    old = rotate(file.path)
    file.path.touch(mode=0o600)
    clock.advance(1.1)
    file.write(b"2\n")
    assert (old.read_bytes(), file.path.read_bytes()) == (b"1\n", b"2\n")
    assert file.path.stat().st_mode & 0o777 == 0o600


def test_reopen_notices_at_once(file):
    file.write(b"1\n")
    old = rotate(file.path)
    file.reopen()
    file.write(b"2\n")
    assert (old.read_bytes(), file.path.read_bytes()) == (b"1\n", b"2\n")


def test_copy_and_truncate_leaves_no_hole(file):
    file.write(b"1" * 1000 + b"\n")
    os.truncate(file.path, 0)
    file.write(b"2\n")
    assert file.path.read_bytes() == b"2\n"


def test_a_deleted_file_and_a_deleted_directory_come_back(file, clock, reports):
    for gone in ("file", "directory"):
        file.write(b"1\n")
        file.path.unlink()
        if gone == "directory":
            file.path.parent.rmdir()
        clock.advance(1.1)
        file.write(b"2\n")
        assert file.path.read_bytes() == b"2\n"
    assert reports == []


def test_the_path_is_looked_at_once_a_second_at_most(file, clock, monkeypatch):
    looks = []
    stat = type(file.path).stat
    monkeypatch.setattr(type(file.path), "stat", lambda path, **how: looks.append(path) or stat(path, **how))
    for _ in range(100):
        file.write(b"1\n")
        clock.advance(0.05)
    assert sum(path == file.path for path in looks) <= 6


def test_a_full_disk_is_reported_once_and_so_is_the_recovery(file, clock, reports):
    file.path.parent.mkdir()
    file.path.symlink_to("/dev/full")
    for _ in range(5):
        file.write(b"1\n")
    assert file.lost == 5
    assert [event for event, _ in reports] == ["log file not writable"]
    assert "No space left" in reports[0][1]["error"]
    file.path.unlink()
    clock.advance(1.1)
    file.write(b"2\n")
    file.write(b"3\n")
    assert file.path.read_bytes() == b"2\n3\n"
    assert [event for event, _ in reports] == ["log file not writable", "log file writable again"]
    assert reports[1][1]["lines_lost"] == 5


def test_a_line_cut_by_a_full_disk_does_not_spoil_the_next(file, reports):
    """A real full disk: the file size limit of this process."""
    import resource  # noqa: PLC0415
    import signal  # noqa: PLC0415

    file.write(b"first\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
        file.write(b"second line\n")
        file.write(b"third\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    file.write(b"fourth\n")
    assert file.path.read_bytes() == b"first\nseco\nfourth\n"
    assert file.lost == 2
    assert [event for event, _ in reports] == ["log file not writable", "log file writable again"]


def test_a_place_where_no_directory_can_be_is_asked_again_once_a_second(tmp_path, clock, reports):
    (tmp_path / "file").write_text("")
    file = LogFile(tmp_path / "file" / "a.log", clock, lambda *report: reports.append(report[0]))
    for _ in range(3):
        file.write(b"1\n")
    (tmp_path / "file").unlink()
    file.write(b"still closed\n")
    clock.advance(1.1)
    file.write(b"2\n")
    assert (tmp_path / "file" / "a.log").read_bytes() == b"2\n"
    assert file.lost == 4
    assert reports == ["log file not writable", "log file writable again"]
    file.close()


def test_threads_that_write_while_the_file_is_reopened_lose_nothing(file):
    def write(mark):
        for n in range(500):
            file.write(b"%c%d\n" % (mark, n))

    threads = [threading.Thread(target=write, args=(mark,)) for mark in b"abcd"]
    for thread in threads:
        thread.start()
    generation = 0
    while any(thread.is_alive() for thread in threads):
        if file.path.exists():
            file.path.rename(file.path.with_suffix(f".{(generation := generation + 1)}"))
        file.reopen()
    found = b"".join(path.read_bytes() for path in file.path.parent.iterdir()).split()
    assert sorted(found) == sorted(b"%c%d" % (mark, n) for mark in b"abcd" for n in range(500))
