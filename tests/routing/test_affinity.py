"""Who has seen a prompt's beginning, and whom a session belongs to."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.routing.affinity import BLOCK_BYTES, MAX_BLOCKS, PrefixIndex, blocks, covered, rank, session_key
from routing.rig import fleet


@given(st.binary(max_size=1000), st.binary(max_size=300), st.binary(max_size=300))
def test_prompts_share_as_many_blocks_as_whole_blocks_of_their_beginning(start, one, other):
    first, second = blocks(start + one, seed="m"), blocks(start + other, seed="m")
    shared = len(start) // BLOCK_BYTES
    assert first[:shared] == second[:shared]
    assert len(first) == len(start + one) // BLOCK_BYTES


def test_blocks_are_bounded_and_of_one_model():
    assert len(blocks(b"x" * 10**6, seed="m")) == MAX_BLOCKS
    assert blocks(b"x" * 64, seed="m") != blocks(b"x" * 64, seed="n")
    assert blocks(memoryview(b"x" * 64), seed="m") == blocks(b"x" * 64, seed="m")
    assert covered(128, (1,)) == 0.5
    assert covered(0, ()) == 0.0


@given(st.integers(1, 200), st.integers(1, 200), st.integers(0, 200))
def test_a_match_is_as_long_as_the_common_beginning(held, asked, common):
    row = next(iter(fleet(1).rows.values()))
    common = min(common, held, asked)
    index = PrefixIndex()
    index.put(row, tuple(range(common)) + tuple(range(1000, 1000 + held - common)))
    assert index.matched(row, tuple(range(common)) + tuple(range(5000, 5000 + asked - common))) == common


def test_a_replica_that_was_away_holds_nothing():
    row = next(iter(fleet(1).rows.values()))
    index = PrefixIndex()
    index.put(row, (1, 2, 3))
    row.healthy_since = 5.0
    assert index.matched(row, (1, 2, 3)) == 0


def test_the_index_forgets_what_is_old_and_keeps_what_is_asked_for():
    row = next(iter(fleet(1).rows.values()))
    index = PrefixIndex(row_blocks=1000)
    index.put(row, (1, 2, 3))
    index.put(row, (4, 5, 6))
    for turn in range(100):
        index.put(row, tuple(range(10_000 + turn * 100, 10_100 + turn * 100)))
        index.put(row, (1, 2, 3))
    assert index.matched(row, (1, 2, 3)) == 3
    assert index.matched(row, (4, 5, 6)) == 0


def test_sessions_spread_and_only_those_of_a_replica_that_goes_move():
    rows = [f"gpu-{n}" for n in range(6)]
    keys = [session_key(f"session {n}") for n in range(6000)]
    owners = [max(rows, key=lambda row: rank(key, row)) for key in keys]
    assert all(800 < count < 1200 for count in Counter(owners).values())
    left = [max(rows[1:], key=lambda row: rank(key, row)) for key in keys]
    assert all(was == now for was, now in zip(owners, left, strict=True) if was != rows[0])
