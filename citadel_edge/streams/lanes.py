"""When what streams say is written: at most one write of a slot is under way, and what is said meanwhile goes together.

A busy process writes larger groups, an idle one writes at once. Decides when the log counts as late: when something has
waited for too long, or a write failed; until one succeeds and leaves nothing that has waited for so long, nobody waits
for it. Refuses to know what is written, and what is done about lateness.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import islice
from typing import Final

from structlog.typing import FilteringBoundLogger

from citadel_edge.errors import RedisUnavailable
from citadel_edge.streams.names import SLOTS
from citadel_edge.streams.page import Page

SECOND_LOOK_S: Final = 0.005
"""What the log has answered while the loop was held up is read before it is called late."""
PACE_S: Final = 0.002
"""Writes of a slot begin at least so far apart: an idle process does not notice, a busy one writes larger groups."""
PACE_EACH_S: Final = 0.0001
MOST_PACE_S: Final = 0.005
"""And for each stream of the last write a little more, up to this: what a write costs by itself is shared by more."""
AGAIN_S: Final = 0.25
"""After a write that failed, the log is left alone for so long."""
MOST_TOGETHER: Final = 64


class _Lane:
    """One slot's way.

    `dirty`: who waits to be heard, and since when, the oldest first; `run_s`: when the first of the writes began that
    follow on each other now, and `began_s`: the last; `pace_s`: how long after that the next one may; `unseen`: what
    was touched in this turn although the log is late.
    """

    __slots__ = "again_s", "began_s", "busy", "dirty", "late", "pace_s", "run_s", "unseen"

    def __init__(self) -> None:
        self.dirty: dict[Page, float] = {}
        self.unseen: dict[Page, None] = {}
        self.busy = False
        self.late = False
        self.run_s = self.began_s = 0.0
        self.again_s = 0.0
        self.pace_s = PACE_S


class _Watch:
    """Calls back at a time, unless cancelled before; having looked once more whether it is."""

    __slots__ = ("_due", "_loop", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, at_s: float, due: Callable[[], None]) -> None:
        self._loop = loop
        self._due = due
        self._timer = loop.call_at(at_s, self._look_again)

    def cancel(self) -> None:
        self._timer.cancel()

    def _look_again(self) -> None:
        self._timer = self._loop.call_later(SECOND_LOOK_S, self._due)


class Lanes:
    """All slots' ways.

    Args:
        write: writes what some pages of one slot have to say, and answers those that have more; raises
            `RedisUnavailable`.
        on_late: told of each page that has waited for too long, and while the log is late of each that is touched.
        late_s: when something has waited for so long, the log is late.
        group: where writes run. Its tasks end by themselves.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Page]], Awaitable[Sequence[Page]]],
        on_late: Callable[[Page], None],
        *,
        late_s: float,
        group: asyncio.TaskGroup,
        log: FilteringBoundLogger,
    ) -> None:
        self._write = write
        self._on_late = on_late
        self._late_s = late_s
        self._group = group
        self._log = log
        self._lanes = [_Lane() for _ in range(SLOTS)]
        self._loop = asyncio.get_running_loop()

    @property
    def late(self) -> bool:
        """Whether anything waits for a late log."""
        return any(lane.late and (lane.busy or lane.dirty) for lane in self._lanes)

    def is_late(self, slot: int) -> bool:
        """Whether the log takes too long now."""
        return self._lanes[slot].late

    def touch(self, page: Page) -> None:
        """It has something to say."""
        lane = self._lanes[page.slot]
        if lane.late:
            self._touch_late(lane, page)
        if page not in lane.dirty:
            lane.dirty[page] = self._loop.time()
        if not lane.busy and not (lane.late and self._loop.time() < lane.again_s):
            self._start(lane)

    def _touch_late(self, lane: _Lane, page: Page) -> None:
        """Readers see what came in a turn together; more of one stream at once, so that memory stays bounded."""
        if page in lane.unseen:
            self._on_late(page)
            return
        if not lane.unseen:
            self._loop.call_soon(self._let_see, lane)
        lane.unseen[page] = None

    def drop(self, page: Page) -> None:
        """It has nothing to say any more."""
        lane = self._lanes[page.slot]
        lane.dirty.pop(page, None)
        lane.unseen.pop(page, None)

    def retry(self) -> None:
        """Say again what could not be said."""
        for lane in self._lanes:
            if lane.dirty:
                self._start(lane)

    def _start(self, lane: _Lane) -> None:
        if not lane.busy:
            lane.busy = True
            self._group.create_task(self._carry(lane), name="stream log")

    async def _carry(self, lane: _Lane) -> None:
        """Write until there is nothing more to say, or nobody to say it to."""
        lane.run_s = self._loop.time()
        try:
            while lane.dirty:
                early_s = lane.began_s + lane.pace_s - self._loop.time()
                if early_s > 0 and len(lane.dirty) < MOST_TOGETHER:
                    await asyncio.sleep(early_s)
                lane.began_s = self._loop.time()
                pages = dict(islice(lane.dirty.items(), MOST_TOGETHER))
                for page in pages:
                    del lane.dirty[page]
                lane.pace_s = min(PACE_S + len(pages) * PACE_EACH_S, MOST_PACE_S)
                if pages and not await self._try(lane, pages):
                    return
        finally:
            lane.busy = False

    async def _try(self, lane: _Lane, pages: dict[Page, float]) -> bool:
        """Write what these have to say, who wait since then."""
        due_s = min(pages.values()) + self._late_s
        watch = _Watch(self._loop, due_s, lambda: self._be_late(lane, pages))
        try:
            more = await self._write(tuple(pages))
        except RedisUnavailable:
            self._fail(lane, pages)
        except Exception:
            self._log.exception("streams could not be logged")
            self._fail(lane, pages)
        else:
            self._succeed(lane, more)
            return True
        finally:
            watch.cancel()
        return False

    def _succeed(self, lane: _Lane, more: Sequence[Page]) -> None:
        """The log is as late as whoever waits longest. What held up the loop alone is not its fault."""
        for page in more:
            lane.dirty.setdefault(page, lane.began_s)
        was_late, lane.late = lane.late, False
        if lane.dirty:
            due_s = max(next(iter(lane.dirty.values())) + self._late_s, lane.run_s)
            lane.late = self._loop.time() > due_s + SECOND_LOOK_S
        if lane.late and not was_late:
            self._be_late(lane, ())

    def _fail(self, lane: _Lane, pages: dict[Page, float]) -> None:
        lane.dirty = pages | lane.dirty | pages
        lane.again_s = self._loop.time() + AGAIN_S
        self._be_late(lane, ())

    def _let_see(self, lane: _Lane) -> None:
        unseen, lane.unseen = lane.unseen, {}
        if lane.late:
            for page in unseen:
                self._on_late(page)

    def _be_late(self, lane: _Lane, pages: Iterable[Page]) -> None:
        """`pages`: whoever waits besides."""
        lane.late = True
        for page in {**dict.fromkeys(pages), **dict.fromkeys(lane.dirty)}:
            self._on_late(page)
            page.live.feed.wake()
