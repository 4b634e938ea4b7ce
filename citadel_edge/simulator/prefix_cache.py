"""A bounded cache of prompt prefixes in whole blocks, as the engines keep one, least recently used out first.

A block is known by itself and everything before it, so a hit is always a prefix. Refuses to know time and requests.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import takewhile


class PrefixCache:
    """Blocks of tokens. `capacity` 0 caches nothing."""

    def __init__(self, *, capacity: int, block_tokens: int = 16) -> None:
        self._capacity = capacity
        self._block_tokens = block_tokens
        self._blocks: OrderedDict[bytes, None] = OrderedDict()
        self.queried_tokens = 0
        self.hit_tokens = 0

    def __len__(self) -> int:
        return len(self._blocks)

    def match(self, tokens: Sequence[str]) -> int:
        """How many leading tokens are cached: whole blocks, and never the last token, which must be read anew."""
        known = sum(1 for _ in takewhile(self._touch, self._keys(tokens[:-1])))
        self.queried_tokens += len(tokens)
        self.hit_tokens += known * self._block_tokens
        return known * self._block_tokens

    def store(self, tokens: Sequence[str]) -> None:
        """Remember the whole blocks of `tokens`; the ends of the longest unused prefixes go first."""
        keys = list(self._keys(tokens))
        for key in reversed(keys[: self._capacity]):  # the head is used last, so it outlives its tail
            self._blocks[key] = None
            self._blocks.move_to_end(key)
        while len(self._blocks) > self._capacity:
            self._blocks.popitem(last=False)

    def clear(self) -> None:
        """Forget everything, as a restarted engine does."""
        self._blocks.clear()

    def _touch(self, key: bytes) -> bool:
        if key not in self._blocks:
            return False
        self._blocks.move_to_end(key)
        return True

    def _keys(self, tokens: Sequence[str]) -> Iterator[bytes]:
        key = b""
        for start in range(0, len(tokens) - self._block_tokens + 1, self._block_tokens):
            block = "\0".join(tokens[start : start + self._block_tokens])
            key = hashlib.blake2b(key + block.encode("utf-8", "surrogatepass"), digest_size=16).digest()
            yield key
