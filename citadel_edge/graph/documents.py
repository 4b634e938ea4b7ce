"""The documents that were read, with their results, bad ones too: nothing is validated twice while it is remembered.

Decides what is remembered and where it is read: a short text at once, a longer one on a thread, one at a time and once
for all who want it, since validation would hold the loop for tens of milliseconds. Texts are the keys, so nothing
collides. What was wanted once cannot push out what was wanted twice, and bad documents cannot push out good ones.
"""

import asyncio
import gc
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from citadel_edge.errors import Code, StartError
from citadel_edge.graph.answers import Stage, refusal
from citadel_edge.graph.aside import Aside
from citadel_edge.graph.lru import Lru, Room
from citadel_edge.graph.reading import Document, Reader, Rejected

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
    """One schema's documents."""

    def __init__(self, reader: Reader, aside: Aside, rooms: Rooms | None = None) -> None:
        rooms = rooms or Rooms()
        self._reader = reader
        self._pinned: Mapping[str, Document] = {}
        self._fresh = Lru[str, Document](rooms.fresh)
        self._known = Lru[str, Document](rooms.known)
        self._bad = Lru[str, Rejected](rooms.bad)
        self._reading: dict[str, asyncio.Future[Document | Rejected]] = {}
        self._aside = aside
        self._here = asyncio.Lock()
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

    def held_bytes(self) -> int:
        """About what is remembered holds."""
        return self._fresh.bytes + self._known.bytes + self._bad.bytes

    def charge(self, text: str, more: int) -> None:
        """What is remembered of a text holds `more` bytes from now on. Those of the operator's own are not counted."""
        self._fresh.grow(text, more)
        self._known.grow(text, more)

    async def document(self, text: str) -> Document | Rejected:
        """The text read. Raises Refused when too many texts are being read."""
        found = self._remembered(text)
        if found is not None:
            self.tally.remembered += 1
            return found
        if self._aside.is_short(text):
            return await self._read_here(text)
        return await asyncio.shield(self._reading.get(text) or self._begin(text))

    def _read(self, text: str) -> Document | Rejected:
        """Read, and sweep: a validation leaves thousands of objects in circles.

        Collected with those of twenty others they would hold the loop for a tenth of a second; alone, for one or two
        milliseconds.
        """
        found = self._reader.read(text)
        gc.collect(0)
        return found

    async def _read_here(self, text: str) -> Document | Rejected:
        """Read a short text on the loop, which others have between one and the next."""
        async with self._here:
            found = self._remembered(text)
            if found is None:
                found = self._read(text)
                self._remember(text, found)
                await asyncio.sleep(0)
        return found

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
        reading = self._aside.do(partial(self._read, text))
        self._reading[text] = reading

        def done(future: asyncio.Future[Document | Rejected]) -> None:
            self._reading.pop(text, None)
            if not future.cancelled() and future.exception() is None:
                self._remember(text, future.result())

        reading.add_done_callback(done)
        return reading
