"""The documents that were read, with their results, bad ones too: nothing is validated twice while it is remembered.

Decides what is remembered and where it is read: a short text at once, a longer one on a thread, one at a time and once
for all who want it, since validation would hold the loop for tens of milliseconds. Texts are the keys, so nothing
collides. What was wanted once cannot push out what was wanted twice, and bad documents cannot push out good ones.
"""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from citadel_edge.errors import Code, StartError
from citadel_edge.graph.answers import Stage, refusal
from citadel_edge.graph.lru import Lru, Room
from citadel_edge.graph.reading import Document, Reader, Rejected

AT_ONCE_CHARACTERS: Final = 800
MAX_WAITING: Final = 64
MAX_BAD_TEXT: Final = 20_000
FRESH: Final = Room(500, 8_000_000)
KNOWN: Final = Room(2_000, 48_000_000)
BAD: Final = Room(500, 4_000_000)


@dataclass(frozen=True, slots=True)
class Rooms:
    """How much is remembered: documents wanted once, wanted again, and bad ones."""

    fresh: Room = FRESH
    known: Room = KNOWN
    bad: Room = BAD


@dataclass(slots=True)
class Tally:
    """How often a document was remembered, and how often it had to be read."""

    remembered: int = 0
    read: int = 0


class Documents:
    """One schema's documents. Belongs to one loop; close it in the end."""

    def __init__(self, reader: Reader, rooms: Rooms | None = None) -> None:
        rooms = rooms or Rooms()
        self._reader = reader
        self._pinned: Mapping[str, Document] = {}
        self._fresh = Lru[str, Document](rooms.fresh)
        self._known = Lru[str, Document](rooms.known)
        self._bad = Lru[str, Rejected](rooms.bad)
        self._reading: dict[str, asyncio.Future[Document | Rejected]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="graphql-documents")
        self.tally = Tally()

    def pin(self, trusted: Mapping[str, str]) -> None:
        """Read the operator's documents, by id, for good. Blocks. Raises StartError naming every bad one."""
        found = {name: (text, self._reader.read_trusted(text)) for name, text in trusted.items()}
        bad = [
            f"{name}: {each.errors[0]['message']}" for name, (_, each) in found.items() if isinstance(each, Rejected)
        ]
        if bad:
            raise StartError("trusted documents: " + "; ".join(bad))
        self._pinned = {text: each for text, each in found.values() if isinstance(each, Document)}

    def is_pinned(self, text: str) -> bool:
        """Whether it is one of the operator's."""
        return text in self._pinned

    def held_bytes(self) -> int:
        """About what is remembered holds."""
        return self._fresh.bytes + self._known.bytes + self._bad.bytes

    async def document(self, text: str) -> Document | Rejected:
        """The text read. Raises Refused when too many texts are being read."""
        found = self._remembered(text)
        if found is not None:
            self.tally.remembered += 1
            return found
        if len(text) <= AT_ONCE_CHARACTERS:
            found = self._reader.read(text)
            self._remember(text, found)
            return found
        return await asyncio.shield(self._reading.get(text) or self._begin(text))

    def close(self) -> None:
        """Stop the thread; what it reads is not waited for."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _remembered(self, text: str) -> Document | Rejected | None:
        found = self._pinned.get(text) or self._known.get(text)
        if found is not None:
            return found
        fresh = self._fresh.pop(text)
        if fresh is not None:
            self._known.put(text, fresh[0], size=fresh[1])
            return fresh[0]
        return self._bad.get(text)

    def _remember(self, text: str, found: Document | Rejected) -> None:
        self.tally.read += 1
        if isinstance(found, Document):
            self._fresh.put(text, found, size=found.size)
        elif len(text) <= MAX_BAD_TEXT:
            self._bad.put(text, found, size=found.size)

    def _begin(self, text: str) -> asyncio.Future[Document | Rejected]:
        if len(self._reading) >= MAX_WAITING:
            raise refusal("too many new documents at once; try again", stage=Stage.DOCUMENT, code=Code.OVERLOADED)
        reading = asyncio.get_running_loop().run_in_executor(self._thread, self._reader.read, text)
        self._reading[text] = reading

        def done(future: asyncio.Future[Document | Rejected]) -> None:
            self._reading.pop(text, None)
            if not future.cancelled() and future.exception() is None:
                self._remember(text, future.result())

        reading.add_done_callback(done)
        return reading
