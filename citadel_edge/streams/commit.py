"""What producers say goes into the log, and readers have it when the log has.

Decides when readers may have an event: when the log has it, or when the log is late. Those events carry cursors of a
provisional epoch, which the log learns when it has them: should this process die before, nobody mistakes others for
them. Decides what becomes of a log that lost events: it gets them again if they are in memory; else it begins anew with
what there is, in another epoch. A stream that the log can never take is shown from memory alone, to its end. Refuses to
know when the log is written (`lanes`), and who reads.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol

from structlog.typing import FilteringBoundLogger

from citadel_edge.config.shape import StreamsConfig
from citadel_edge.errors import RedisUnavailable
from citadel_edge.streams.feed import TAIL_BYTES
from citadel_edge.streams.lanes import Lanes
from citadel_edge.streams.live import Live
from citadel_edge.streams.messages import FENCED, GAP, HEARD, MISSING, Heard, LastWord, Words
from citadel_edge.streams.page import Page
from citadel_edge.streams.registering import Registering
from citadel_edge.streams.store import Store
from citadel_edge.streams.timing import Timing

UNCOMMITTED_BYTES: Final = 2**20
"""So much may be on its way to the log before a producer has to wait."""
LET_GO_S: Final = 1.0


class Listener(Protocol):
    """Who is told what became of a stream."""

    def ended(self, live: Live) -> None:
        """There is nothing more to say."""

    def deposed(self, live: Live, *, moves: bool) -> None:
        """Another process produces it. `moves`: because this one ends."""

    def discarded(self, live: Live) -> None:
        """It has never been."""


class Commits:
    """Every stream that this process produces, and how far the log has it. The `Journal` of each.

    Args:
        store: the log.
        settings: asked at the moment of use.
        group: where writes run.
        new_epoch: makes names of epochs.
        listener: told what becomes of streams.

    Attributes:
        ask: asks the log after one stream's lease.
    """

    def __init__(
        self,
        store: Store,
        settings: Callable[[], StreamsConfig],
        timing: Timing,
        *,
        group: asyncio.TaskGroup,
        log: FilteringBoundLogger,
        new_epoch: Callable[[], str],
        listener: Listener,
    ) -> None:
        self.ask: Callable[[Page], Awaitable[None]] | None = None
        self.pages: dict[str, Page] = {}
        self._store = store
        self._settings = settings
        self._timing = timing
        self._log = log
        self._new_epoch = new_epoch
        self._listener = listener
        self._registering = Registering(store, log=log, on_fenced=self._depose, on_unfit=self._set_apart)
        self._lanes = Lanes(self._write, self._show_early, late_s=timing.late_s, group=group, log=log)

    @property
    def late(self) -> bool:
        """Whether the log takes too long now, for any stream."""
        return self._lanes.late

    def add(self, page: Page) -> None:
        """A stream is produced here from now on."""
        self.pages[page.live.id] = page

    def drop(self, live: Live) -> None:
        """It is no more; the log is told nothing further."""
        page = self.pages.pop(live.id, None)
        if page is not None:
            self._lanes.drop(page)

    def retry(self) -> None:
        """Say again what could not be said."""
        self._lanes.retry()

    def hear(self, page: Page, heard: Heard, *, durable: int, asked_s: float) -> None:
        """What the log said of a stream's lease when it was asked, and everything up to `durable` should be in it."""
        if not self._has(page):
            return
        if heard.code == FENCED:
            self._depose(page)
        elif heard.code == MISSING or heard.last < durable:
            self._heal(page, heard)
            self._lanes.touch(page)
        else:
            page.is_renewed(asked_s, durable)
            _wish(page.live, heard)

    # The `Journal`.

    def touch(self, live: Live) -> None:
        """It has something new."""
        page = self.pages.get(live.id)
        if page is not None:
            self._touch(page)

    def keeps(self, live: Live) -> bool:
        """Whether the log knows of it, and answers in time."""
        page = self.pages.get(live.id)
        return page is not None and page.registered and not self._lanes.is_late(page.slot)

    def crowded(self, live: Live) -> bool:
        """Whether too much of it is on its way, and waiting would help."""
        if live.feed.bytes <= TAIL_BYTES + UNCOMMITTED_BYTES:
            return False
        page = self.pages.get(live.id)
        return page is not None and not page.apart and not self._lanes.is_late(page.slot)

    async def room(self, live: Live) -> None:
        """Return when not."""
        while self.crowded(live):
            await live.feed.changed()

    async def stored(self, live: Live) -> None:
        """Return when the log has all that was said, or takes too long."""
        page = self.pages.get(live.id)
        if page is not None and page.due:
            self._lanes.touch(page)
        while page is not None and page.due and self._has(page) and not self._lanes.is_late(page.slot):
            await live.feed.changed()

    async def confirm(self, live: Live) -> bool:
        """Whether it is produced here, as far as anybody can say."""
        page = self.pages.get(live.id)
        if page is None:
            return False
        if not page.registered or self.ask is None:
            return True
        if not self._is_sure(page):
            with suppress(RedisUnavailable):
                await self.ask(page)
        return self._has(page)

    def discard(self, live: Live) -> None:
        """It was never there."""
        self._listener.discarded(live)
        page = self.pages.get(live.id)
        if page is None:
            return
        page.last_word = LastWord.DISCARDED
        if page.offered:
            self._lanes.touch(page)
        else:
            live.feed.show(live.feed.last, live.terminal)
            self._listener.ended(live)

    async def let_go(self, live: Live) -> None:
        """This process ends: another is to go on with it, behind all that was said."""
        await self.give_back(live, moves=True)

    async def give_back(self, live: Live, *, moves: bool = False) -> None:
        """Another process is to go on with it, behind all that was said."""
        page = self.pages.get(live.id)
        if page is None:
            return
        page.last_word, page.moves = LastWord.GIVEN_UP, moves
        self._touch(page)
        with suppress(TimeoutError):
            async with asyncio.timeout(LET_GO_S):
                while not live.deposed:
                    await live.feed.changed()
        self._depose(page)

    def _is_sure(self, page: Page) -> bool:
        """Whether nobody else can have taken it."""
        return asyncio.get_running_loop().time() - page.renewed_s <= self._timing.sure_s

    # Writing.

    def _has(self, page: Page) -> bool:
        return self.pages.get(page.live.id) is page

    def _touch(self, page: Page) -> None:
        if page.apart:
            self._show_early(page)
        else:
            self._lanes.touch(page)

    def _set_apart(self, page: Page) -> None:
        """The log can never take it: readers have it from memory, and nothing of it is durable."""
        page.apart, page.offered = True, False
        self._lanes.drop(page)
        self._show_early(page)
        page.live.feed.wake()
        if page.last_word is LastWord.DISCARDED:
            self._listener.ended(page.live)

    async def _write(self, pages: Sequence[Page]) -> list[Page]:
        """Say what is to be said of some streams of a slot; those of which more is to be said."""
        pages = [page for page in pages if self._has(page) and not page.apart]
        for page in pages:
            if page.live.feed.first > page.live.feed.durable + 1:
                self._lose(page)
        unknown = [page for page in pages if not page.registered]
        if unknown:
            await self._registering.register(unknown)
        asked = [(page, page.words(), page.live.feed.lineage) for page in pages if page.registered]
        if not asked:
            return []
        settings = self._settings()
        answers = await self._store.write(
            pages[0].slot,
            [words for _, words, _ in asked],
            kept_ms=round(settings.retention_s * 1000),
            most_bytes=settings.max_bytes,
        )
        for (page, words, lineage), heard in zip(asked, answers, strict=True):
            self._settle(page, words, lineage, heard)
        return [page for page in pages if page.due and self._has(page)]

    def _settle(self, page: Page, words: Words, lineage: int, heard: Heard) -> None:
        feed = page.live.feed
        if heard.code == FENCED:
            self._depose(page)
        elif heard.code == GAP and heard.last >= feed.durable:
            feed.durable = heard.last  # it had heard what it seemed not to
            feed.show(feed.durable)
        elif heard.code != HEARD:
            self._heal(page, heard)
        else:
            page.is_said(words, lineage)
            self._advance(page, heard)
            if words.last_word is LastWord.GIVEN_UP:
                self._depose(page)
            elif page.ended and not page.due:
                self._listener.ended(page.live)

    def _advance(self, page: Page, heard: Heard) -> None:
        live, feed = page.live, page.live.feed
        feed.durable, feed.floor = heard.last, max(feed.floor, heard.first)
        shown = feed.show(feed.durable, live.terminal if page.ended else None)
        feed.settle()
        feed.trim(TAIL_BYTES, feed.durable)
        if not shown:
            feed.wake()  # some wait for the log alone
        _wish(live, heard)

    def _heal(self, page: Page, heard: Heard) -> None:
        """What the log lacks it gets again. If it was lost, somebody else may have gone on with it before, unheard."""
        page.lacks(heard)
        if heard.code == MISSING and not self._is_sure(page):
            page.live.feed.doubt(self._new_epoch(), page.renewed_at)
        self._log.warning("the log of a stream lost events", stream=page.live.id, kept=page.live.feed.durable)

    def _lose(self, page: Page) -> None:
        self._log.warning("events of a stream are lost", stream=page.live.id, until=page.live.feed.first - 1)
        page.begin_anew(self._new_epoch())

    def _show_early(self, page: Page) -> None:
        """Let readers have what the log has not."""
        feed = page.live.feed
        feed.show_early(page.live.terminal, self._new_epoch)
        feed.trim(self._settings().max_bytes, feed.visible)
        if feed.first > feed.durable + 1:
            feed.floor = feed.first

    def _depose(self, page: Page) -> None:
        if not self._has(page):
            return
        self.drop(page.live)
        page.live.depose()
        self._listener.deposed(page.live, moves=page.moves)
        page.live.feed.wake()


def _wish(live: Live, heard: Heard) -> None:
    if heard.stop:
        live.ask_to_stop()
    live.follow_elsewhere(followed=heard.followed_ms > 0)
