"""The prefix cache, against a plain model of it."""

from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.simulator.prefix_cache import PrefixCache

texts = st.lists(st.sampled_from("ab"), max_size=14)
BLOCK = 3


def common_blocks(text, stored):
    def shared(other):
        same = next(
            (i for i, (x, y) in enumerate(zip(text, other, strict=False)) if x != y), min(len(text), len(other))
        )
        return min(same, len(text) - 1, len(other)) // BLOCK * BLOCK

    return max((shared(other) for other in stored), default=0) if text else 0


@given(stored=st.lists(texts, max_size=6), text=texts)
def test_a_hit_is_the_longest_stored_prefix_in_whole_blocks_without_the_last_token(stored, text):
    cache = PrefixCache(capacity=1000, block_tokens=BLOCK)
    for other in stored:
        cache.store(other)
    assert cache.match(text) == common_blocks(text, stored)


@given(stored=st.lists(texts, max_size=20), capacity=st.integers(0, 8), text=texts)
def test_it_never_holds_more_than_its_capacity_nor_claims_more_than_was_stored(stored, capacity, text):
    cache = PrefixCache(capacity=capacity, block_tokens=BLOCK)
    for other in stored:
        cache.store(other)
        assert len(cache) <= capacity
    assert cache.match(text) <= common_blocks(text, stored)


def test_the_least_recently_used_prefix_goes_first():
    cache = PrefixCache(capacity=2, block_tokens=1)
    cache.store(["a"])
    cache.store(["b"])
    assert cache.match(["a", "x"]) == 1
    cache.store(["c"])
    assert (cache.match(["a", "x"]), cache.match(["b", "x"]), cache.match(["c", "x"])) == (1, 0, 1)


def test_a_text_longer_than_the_cache_keeps_its_head():
    cache = PrefixCache(capacity=2, block_tokens=1)
    cache.store(list("abcd"))
    assert cache.match(list("abcd")) == 2


def test_hits_are_counted_in_tokens_and_clear_forgets():
    cache = PrefixCache(capacity=9, block_tokens=2)
    cache.store(list("abcd"))
    cache.match(list("abcde"))
    assert (cache.queried_tokens, cache.hit_tokens) == (5, 4)
    cache.clear()
    assert cache.match(list("abcde")) == 0
