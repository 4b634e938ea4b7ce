"""Who has seen a prompt's beginning, and whom a session belongs to."""

from collections import Counter
from itertools import accumulate
from math import ceil
from uuid import NAMESPACE_URL, uuid5

from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.routing.affinity import BLOCK_BYTES, MAX_BLOCKS, PrefixIndex, Sessions, blocks, covered
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
    places, index = fleet(1).deployments("m"), PrefixIndex()
    row = places[0].row
    index.put(row, (1, 2, 3))
    row.healthy_since = 5.0
    assert index.matched(row, (1, 2, 3)) == 0
    assert index.holders(places, (1, 2, 3)) == {}


chains = st.lists(st.integers(0, 1), max_size=6).map(lambda path: tuple(accumulate(path, lambda *two: hash(two))))


@given(st.lists(st.lists(chains, max_size=3), min_size=1, max_size=5), chains)
def test_those_that_hold_any_of_a_prompt_are_its_holders(caches, asked):
    places, index = fleet(*[1] * len(caches)).deployments("m"), PrefixIndex()
    for place, prompts in zip(places, caches, strict=True):
        for chain in prompts:
            index.put(place.row, chain)
    matched = {place.row.id: index.matched(place.row, asked) for place in places}
    assert index.holders(places, asked) == {name: blocks for name, blocks in matched.items() if blocks}


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
    places, sessions = fleet(*[1] * 6).deployments("m"), Sessions()
    names = [f"session {n}" for n in range(6000)]
    owners = [places[sessions.owner(name, places)] for name in names]
    assert all(800 < count < 1200 for count in Counter(one.row.id for one in owners).values())
    left = [places[1:][sessions.owner(name, places[1:])] for name in names]
    assert all(was is now for was, now in zip(owners, left, strict=True) if was is not places[0])
    other = Sessions()
    assert [places[other.owner(name, places)] for name in names] == owners


def test_sessions_spread_over_many():
    places, sessions = fleet(*[1] * 200).deployments("m"), Sessions()
    owned = Counter(sessions.owner(str(uuid5(NAMESPACE_URL, str(n))), places) for n in range(20_000))
    assert len(owned) == 200
    assert max(owned.values()) < 150


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20), st.text())
def test_a_sessions_replica_has_at_most_a_quarter_more_than_the_mean(loads, session):
    places = fleet(*[1] * len(loads)).deployments("m")
    for place, load in zip(places, loads, strict=True):
        place.row.in_flight = load
    assert loads[Sessions().owner(session, places)] + 1 <= ceil(1.25 * (sum(loads) + 1) / len(loads))
