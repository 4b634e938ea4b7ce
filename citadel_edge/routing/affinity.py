"""Which replica has seen the beginning of this prompt, and which one a session belongs to.

Decides what is remembered, for how long, and how much of a prompt a replica probably holds in its cache. Refuses to
weigh it: affinity is one part of a score among others and is asked anew for each request, so that no replica is fed
because it was fed (sglang#14305).

Blocks are chained, so a block stands for all before it, as in llm-d's index and vLLM's own cache; only whole blocks
count. The hashes never leave the process.
"""

from collections.abc import Sequence
from hashlib import blake2b
from itertools import islice
from typing import Final

from citadel_edge.fleet.table import Deployment, Row

BLOCK_BYTES: Final = 64
MAX_BLOCKS: Final = 256
ROW_BLOCKS: Final = 31_250
MAX_ROWS: Final = 1_000
BOUND: Final = 1.25
_MOST_SALTS: Final = 10_000
_SPREAD: Final = 0x9E3779B97F4A7C15
_MASK: Final = 2**64 - 1


def blocks(prompt: bytes | bytearray | memoryview, *, seed: object) -> tuple[int, ...]:
    """The chained hashes of the prompt's first whole blocks of 64 bytes, at most 256.

    `seed`: what else must be equal for a cache to be shared, such as the model's name.
    """
    text = bytes(prompt[: BLOCK_BYTES * MAX_BLOCKS])
    last = hash(seed)
    chain = []
    for start in range(0, len(text) - BLOCK_BYTES + 1, BLOCK_BYTES):
        last = hash((last, text[start : start + BLOCK_BYTES]))
        chain.append(last)
    return tuple(chain)


def covered(prompt_bytes: int, chain: tuple[int, ...]) -> float:
    """The part of a prompt, 0 to 1, that its blocks cover."""
    return min(1.0, len(chain) * BLOCK_BYTES / prompt_bytes) if prompt_bytes else 0.0


class PrefixIndex:
    """Blocks by replica, the most recent ones.

    Each replica's are kept in two generations: what was not put again while one filled is forgotten with it. So there
    are between half of `row_blocks` and all, and no block outlives the ones before it: a match is found by halving.
    """

    __slots__ = ("_half", "_held", "_max_rows")

    def __init__(self, *, row_blocks: int = ROW_BLOCKS, max_rows: int = MAX_ROWS) -> None:
        self._half = max(MAX_BLOCKS, row_blocks // 2)
        self._max_rows = max_rows
        self._held: dict[str, _Held] = {}

    def put(self, row: Row, chain: tuple[int, ...]) -> None:
        """The replica took in a prompt with these blocks."""
        if not chain:
            return
        held = self._held.get(row.id)
        if held is None or held.since != row.healthy_since:
            held = self._new(row)
        if len(held.young) + len(chain) > self._half:
            held.old, held.young = held.young, set()
        held.young.update(chain)

    def matched(self, row: Row, chain: tuple[int, ...]) -> int:
        """How many of the blocks the replica probably holds; none when it was away since, as a restart empties it."""
        held = self._held.get(row.id)
        return 0 if held is None or held.since != row.healthy_since else held.matched(chain)

    def holders(self, places: Sequence[Deployment], chain: tuple[int, ...]) -> dict[str, int]:
        """How many of the blocks each of the replicas probably holds, by its id, without those that hold none."""
        found: dict[str, int] = {}
        if not chain:
            return found
        first, all_held = chain[0], self._held
        for place in places:
            row = place.row
            held = all_held.get(row.id)
            if held is not None and (first in held.young or first in held.old) and held.since == row.healthy_since:
                found[row.id] = held.matched(chain)
        return found

    def _new(self, row: Row) -> "_Held":
        if len(self._held) >= self._max_rows and row.id not in self._held:
            for oldest in tuple(islice(self._held, 1)):
                del self._held[oldest]
        held = self._held[row.id] = _Held(row.healthy_since)
        return held


class _Held:
    """One replica's blocks. `since`: when it turned healthy; another time means another cache."""

    __slots__ = ("old", "since", "young")

    def __init__(self, since: float) -> None:
        self.since = since
        self.young: set[int] = set()
        self.old: set[int] = set()

    def matched(self, chain: tuple[int, ...]) -> int:
        """How many of the chain's blocks it holds: found by halving."""
        young, old = self.young, self.old
        if not chain or (chain[0] not in young and chain[0] not in old):
            return 0
        low, high = 1, len(chain) + 1
        while high - low > 1:
            middle = (low + high) // 2
            block = chain[middle - 1]
            if block in young or block in old:
                low = middle
            else:
                high = middle
        return low


class Sessions:
    """Whom a session belongs to: the replica that ranks highest for it, the same one in every process.

    Rendezvous hashing (Thaler and Ravishankar, 1998): when a replica goes or comes, only its sessions move. With
    bounded loads (Mirrokni et al., 2016): who has a quarter more than the mean in flight is passed over.
    """

    __slots__ = ("_salts",)

    def __init__(self) -> None:
        self._salts: dict[str, int] = {}

    def owner(self, session: str, places: Sequence[Deployment]) -> int:
        """The position of the session's replica among `places`, of which there must be one."""
        key, salts = _hashed(session), self._salts
        loads = [place.row.in_flight for place in places]
        most = BOUND * (sum(loads) + 1) / len(loads)  # above the mean: somebody has less
        best, highest = -1, -1
        for at, load in enumerate(loads):
            if load < most:
                row_id = places[at].row.id
                salt = salts.get(row_id)
                rank = ((key ^ (self._salt(row_id) if salt is None else salt)) * _SPREAD) & _MASK
                if rank > highest:
                    best, highest = at, rank
        return best

    def _salt(self, row_id: str) -> int:
        if len(self._salts) >= _MOST_SALTS:
            self._salts.clear()
        salt = self._salts[row_id] = _hashed(row_id)
        return salt


def _hashed(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest())
