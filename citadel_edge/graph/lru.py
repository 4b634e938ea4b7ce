"""What was used last stays: a store bounded by entries and by bytes. Pure."""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Room:
    """How much a store may hold."""

    entries: int
    bytes: int


class Lru(Generic[K, V]):
    """Forgets what was not asked for longest. What is larger than the whole room is not kept at all."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._kept: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self.bytes = 0
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: K) -> V | None:
        """What was kept under the key."""
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def put(self, key: K, value: V, *, size: int) -> None:
        """Keep a value that takes `size` bytes."""
        self.pop(key)
        if size > self._room.bytes or self._room.entries < 1:
            return
        self._kept[key] = (value, size)
        self.bytes += size
        while len(self._kept) > self._room.entries or self.bytes > self._room.bytes:
            self.bytes -= self._kept.popitem(last=False)[1][1]
            self.forgotten += 1

    def grow(self, key: K, more: int) -> None:
        """What is kept under the key takes `more` bytes from now on."""
        found = self.pop(key)
        if found is not None:
            self.put(key, found[0], size=found[1] + more)

    def pop(self, key: K) -> tuple[V, int] | None:
        """Forget a key; what was kept under it, with its size."""
        found = self._kept.pop(key, None)
        if found is not None:
            self.bytes -= found[1]
        return found
