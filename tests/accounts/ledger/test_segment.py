import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.accounts.ledger.codec import seal
from citadel_edge.accounts.ledger.segment import count_lines, read_batch

PAYLOADS = st.lists(st.binary(max_size=40).map(lambda data: data.replace(b"\n", b"")), max_size=30)


def read_all(path, end, *, max_rows):
    batches, start = [], 0
    while start < end:
        batch = read_batch(path, start, end, max_rows=max_rows)
        assert batch.end > start
        batches.append(batch)
        start = batch.end
    return batches


@pytest.fixture(scope="session")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("segments") / "one.seg"


@given(payloads=PAYLOADS, max_rows=st.integers(1, 7))
def test_batches_hold_every_line_once_in_order(path, payloads, max_rows):
    path.write_bytes(b"".join(map(seal, payloads)))
    batches = read_all(path, path.stat().st_size, max_rows=max_rows)
    assert [payload for batch in batches for payload in batch.payloads] == payloads
    assert all(batch.lines <= max_rows for batch in batches)
    assert count_lines(path) == len(payloads)


@given(payloads=PAYLOADS.filter(bool), data=st.data())
def test_a_file_cut_anywhere_keeps_its_whole_lines(path, payloads, data):
    whole = b"".join(map(seal, payloads))
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    batches = read_all(path, cut, max_rows=4)
    kept = [payload for batch in batches for payload in batch.payloads]
    assert kept == payloads[: whole[:cut].count(b"\n")]
    assert sum(batch.torn_bytes for batch in batches) == cut - len(b"".join(map(seal, kept)))
    assert not any(batch.corrupt for batch in batches)


@given(
    payloads=st.lists(st.binary(min_size=1, max_size=40).filter(lambda d: b"\n" not in d), min_size=3), data=st.data()
)
def test_a_corrupt_line_leaves_the_others(path, payloads, data):
    lines = [bytearray(seal(payload)) for payload in payloads]
    bad = data.draw(st.integers(0, len(lines) - 1))
    at = data.draw(st.integers(0, len(lines[bad]) - 2))
    lines[bad][at] = lines[bad][at] ^ data.draw(st.integers(1, 255).filter(lambda mask: lines[bad][at] ^ mask != 10))
    path.write_bytes(b"".join(lines))
    batches = read_all(path, path.stat().st_size, max_rows=5)
    assert [payload for batch in batches for payload in batch.payloads] == payloads[:bad] + payloads[bad + 1 :]
    (corrupt,) = [corrupt for batch in batches for corrupt in batch.corrupt]
    assert corrupt.line == bytes(lines[bad][:-1])
    assert corrupt.offset == len(b"".join(lines[:bad]))


def test_a_line_longer_than_a_read_is_one_line(path):
    payloads = [b"short", b"x" * 3_000_000, b"end"]
    path.write_bytes(b"".join(map(seal, payloads)))
    batches = read_all(path, path.stat().st_size, max_rows=500)
    assert [payload for batch in batches for payload in batch.payloads] == payloads


@pytest.mark.parametrize("left", [0, 5, 20])
def test_a_file_that_shrank_under_us_ends(path, left):
    path.write_bytes((seal(b"one") + seal(b"two"))[:left])
    batches = read_all(path, 26, max_rows=500)
    assert [payload for batch in batches for payload in batch.payloads] == [b"one"][: left // 13]
    assert batches[-1].end == 26


def test_a_megabyte_without_a_line_end_is_torn(path):
    path.write_bytes(seal(b"one") + b"\0" * 1_000_000)
    batches = read_all(path, path.stat().st_size, max_rows=500)
    assert batches[0].payloads == [b"one"]
    assert sum(batch.torn_bytes for batch in batches) == 1_000_000
