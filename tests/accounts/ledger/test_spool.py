import os
import resource
import time
from pathlib import Path

import pytest

from citadel_edge.accounts.ledger.codec import seal
from citadel_edge.accounts.ledger.segment import read_batch

DESCRIPTORS = Path("/proc/self/fd")
LINES = [seal(b'{"row":%d}' % number) for number in range(100)]


def payloads_of(spool):
    """Everything on disk that is not carried, in order, marking it as carried."""
    found = []
    while segment := spool.unsent():
        batch = read_batch(segment.path, segment.carried, segment.size, max_rows=7)
        found += batch.payloads
        spool.advance(segment, batch.end, batch.lines)
    return found


def files(directory):
    return sorted(path.name for path in directory.glob("*.seg"))


@pytest.fixture
def tight_disk():
    """Bounds the size of each file this process writes, as a quota would; the kernel then writes a part and refuses."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def bound(n_bytes):
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft if n_bytes is None else n_bytes, hard))

    yield bound
    bound(None)


def test_a_line_is_in_the_file_when_keep_returns(new_spool, directory):
    spool = new_spool()
    spool.keep(LINES[0])
    (name,) = files(directory)
    assert (directory / name).read_bytes() == LINES[0]
    assert (spool.rows, spool.bytes) == (1, len(LINES[0]))


def test_the_spool_is_its_owners_alone(new_spool, directory):
    new_spool().keep(LINES[0])
    (name,) = files(directory)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / name).stat().st_mode & 0o777 == 0o600


def test_segments_rotate_by_size_and_keep_the_order(new_spool, directory):
    spool = new_spool(segment_bytes=200)
    for line in LINES:
        spool.keep(line)
    assert {(directory / name).stat().st_size // 20 for name in files(directory)[:-1]} == {10}
    assert payloads_of(spool) == [line[9:-1] for line in LINES]
    assert spool.rows == 0


def test_carried_segments_leave_and_the_disk_is_free_again(new_spool, directory):
    spool = new_spool(segment_bytes=200)
    for line in LINES:
        spool.keep(line)
    payloads_of(spool)
    spool.seal()
    for segment in spool.finished():
        spool.remove(segment)
    assert files(directory) == []
    assert (spool.rows, spool.bytes) == (0, 0)


def test_a_restart_finds_what_was_not_carried(new_spool):
    first = new_spool(segment_bytes=200)
    for line in LINES:
        first.keep(line)
    first.close()
    second = new_spool()
    second.keep(seal(b"new"))
    assert second.rows == len(LINES) + 1
    assert second.bytes == len(b"".join(LINES)) + len(seal(b"new"))
    assert payloads_of(second) == [*(line[9:-1] for line in LINES), b"new"]


def test_a_torn_last_line_is_never_written_behind(new_spool, directory):
    first = new_spool()
    first.keep(LINES[0])
    first.close()
    (name,) = files(directory)
    with (directory / name).open("ab") as file:
        file.write(LINES[1][:-5])
    second = new_spool()
    second.keep(LINES[2])
    assert payloads_of(second) == [LINES[0][9:-1], LINES[2][9:-1]]


def test_a_closed_spool_with_nothing_to_carry_leaves_nothing(new_spool, directory):
    spool = new_spool()
    spool.keep(LINES[0])
    payloads_of(spool)
    spool.close()
    assert files(directory) == []


def test_strange_files_in_the_directory_are_left_alone(new_spool, directory):
    directory.mkdir()
    for name in ("README", "x.seg", "quarantine.jsonl", "1-2.seg.bak"):
        (directory / name).write_text("not a row\n")
    spool = new_spool()
    assert spool.unsent() is None
    spool.close()
    assert len(list(directory.iterdir())) == 4


def test_a_refused_line_waits_in_memory_and_goes_to_disk_later(new_spool, tight_disk, logged):
    spool = new_spool()
    tight_disk(5)
    for line in LINES[:3]:
        spool.keep(line)
    assert (spool.rows, len(spool.held), spool.bytes) == (3, 3, 0)
    assert spool.write_errors == 3
    assert "disk refuses" in logged[0]["event"]
    tight_disk(None)
    spool.keep(LINES[3])
    assert (spool.rows, len(spool.held)) == (4, 0)
    assert sorted(payloads_of(spool)) == sorted(line[9:-1] for line in LINES[:4])


def test_no_part_of_a_refused_line_stays_in_the_file(new_spool, tight_disk, directory):
    spool = new_spool()
    spool.keep(LINES[0])
    tight_disk(len(LINES[0]) + 4)
    spool.keep(LINES[1])
    tight_disk(None)
    assert (directory / files(directory)[0]).read_bytes() == LINES[0]


def test_a_file_that_cannot_grow_does_not_stop_the_next(new_spool, tight_disk):
    spool = new_spool()
    tight_disk(3 * len(LINES[0]))
    for line in LINES:
        spool.keep(line)
    assert len(spool.held) <= 1
    assert spool.lost == 0
    tight_disk(None)
    spool.retry()
    assert sorted(payloads_of(spool)) == sorted(line[9:-1] for line in LINES)


def test_memory_for_refused_lines_is_bounded_and_the_loss_is_counted(new_spool, tight_disk, logged):
    spool = new_spool(max_held=10)
    tight_disk(0)
    for line in LINES[:5]:
        spool.keep(line)
    assert spool.held.half_full
    for line in LINES[5:12]:
        spool.keep(line)
    assert (spool.rows, spool.lost) == (10, 2)
    assert sum("lost" in entry["event"] for entry in logged) == 2


def test_closing_while_the_disk_refuses_says_what_is_lost(new_spool, tight_disk, logged):
    spool = new_spool()
    tight_disk(0)
    spool.keep(LINES[0])
    spool.close()
    assert spool.lost == 1
    assert logged[-1]["log_level"] == "error"


def test_a_deleted_directory_is_survived(new_spool, directory, tmp_path):
    spool = new_spool()
    directory.rename(tmp_path / "elsewhere")
    spool.keep(LINES[0])
    assert len(spool.held) == 1
    (tmp_path / "elsewhere").rename(directory)
    spool.keep(LINES[1])
    assert sorted(payloads_of(spool)) == [LINES[0][9:-1], LINES[1][9:-1]]


def test_the_thread_syncs_what_was_written_and_rests_otherwise(new_spool, monkeypatch):
    synced = []
    sync = os.fdatasync
    monkeypatch.setattr(
        os, "fdatasync", lambda fd: (synced.append(DESCRIPTORS.joinpath(str(fd)).readlink().name), sync(fd))
    )
    spool = new_spool()
    spool.keep(LINES[0])
    deadline = time.monotonic() + 10
    while not any(name.endswith(".seg") for name in synced):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    rounds = spool.syncer.rounds
    time.sleep(0.4)
    assert spool.syncer.rounds <= rounds + 1


def test_descriptors_do_not_pile_up(new_spool):
    spool = new_spool(segment_bytes=30)
    before = len(list(DESCRIPTORS.iterdir()))
    for line in LINES * 5:
        spool.keep(line)
    spool.syncer.close_later(os.dup(0))
    deadline = time.monotonic() + 10
    while len(list(DESCRIPTORS.iterdir())) > before + 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_oldest_row_has_an_age_only_while_it_waits(new_spool):
    spool = new_spool()
    assert spool.oldest_s() == 0
    spool.keep(LINES[0])
    time.sleep(0.02)
    assert 0.02 <= spool.oldest_s() < 30
    payloads_of(spool)
    assert spool.oldest_s() == 0
