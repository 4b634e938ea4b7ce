"""What was used last stays, within entries and bytes."""

from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.graph.lru import Lru, Room


def test_what_was_not_asked_for_longest_goes_first():
    kept = Lru(Room(2, 100))
    kept.put("a", 1, size=1)
    kept.put("b", 2, size=1)
    assert kept.get("a") == 1
    kept.put("c", 3, size=1)
    assert (kept.get("a"), kept.get("b"), kept.get("c")) == (1, None, 3)
    assert kept.forgotten == 1


def test_what_is_larger_than_the_room_is_not_kept_and_pushes_nothing_out():
    kept = Lru(Room(10, 100))
    kept.put("a", 1, size=60)
    kept.put("big", 2, size=101)
    assert (kept.get("a"), kept.get("big"), kept.bytes) == (1, None, 60)


def test_a_value_kept_anew_takes_its_own_size_only():
    kept = Lru(Room(10, 100))
    kept.put("a", 1, size=60)
    kept.put("a", 2, size=30)
    assert (kept.get("a"), kept.bytes, len(kept)) == (2, 30, 1)
    assert kept.pop("a") == (2, 30)
    assert (kept.pop("a"), kept.bytes) == (None, 0)


def test_what_grows_takes_its_new_size_and_pushes_out_others_or_itself():
    kept = Lru(Room(10, 100))
    kept.put("a", 1, size=40)
    kept.put("b", 2, size=40)
    kept.grow("unknown", 1_000)
    kept.grow("a", 30)
    assert (kept.get("a"), kept.get("b"), kept.bytes) == (1, None, 70)
    kept.grow("a", 31)
    assert (kept.get("a"), kept.bytes) == (None, 0)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 60))))
def test_it_never_holds_more_than_its_room(puts):
    kept = Lru(Room(5, 100))
    sizes = {}
    for key, size in puts:
        kept.put(key, key, size=size)
        sizes[key] = size
        assert len(kept) <= 5
        assert kept.bytes <= 100
    assert kept.bytes == sum(size for key, size in sizes.items() if kept.get(key) is not None)
