"""Who is being served right now, so that a key that ends, or a process that ends, takes running requests with it.

Decides whom an ending concerns, and looks again at whoever is served when the accounts change: a key may end sooner
than it was to, and a user may do less than when the request began. A request is its handler's task; ending it is
cancelling it with the reason, which its door tells the client (`reason_of`). Refuses to know what the request was
doing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from citadel_edge.accounts.news import News, Subject
from citadel_edge.accounts.principal import Principal
from citadel_edge.errors import Code, RequestError
from citadel_edge.telemetry.clock import Clock

LONGEST_S: Final = 30 * 86_400.0
"""No request is served for longer; a timer may be set for no longer."""
RETRY_S: Final = 1.0
Holder = Callable[[str], Awaitable[Principal]]


class Reason(StrEnum):
    """Why a running request is ended by us. Anything else that cancels it is the client's leaving."""

    REVOKED = "the key has ended, or its user's rights have"
    DRAINING = "the process is being stopped"


@dataclass(slots=True, eq=False)
class _Served:
    """One request under way. `ended`: it was told of the end of its caller's rights."""

    task: asyncio.Task[object]
    principal: Principal
    expiry: asyncio.TimerHandle | None = None
    ended: bool = False

    @property
    def subjects(self) -> tuple[tuple[Subject, str], ...]:
        """What news would be about it. They are always the same: a key that changes hands ends what it opened."""
        return (Subject.KEY, self.principal.key_id), (Subject.USER, self.principal.user_id)

    def revoke(self) -> None:
        """Once: a second word would break into the last ones that its client is told."""
        if not self.ended:
            self.ended = True
            self.task.cancel(Reason.REVOKED)


class Presence:
    """The requests under way, by task. `run` is its worker; without it, nobody looks again."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._served: dict[asyncio.Task[object], _Served] = {}
        self._about: dict[tuple[Subject, str], dict[_Served, None]] = {}
        self._doubted: dict[str, None] = {}
        self._doubt = asyncio.Event()

    def __len__(self) -> int:
        return len(self._served)

    @contextmanager
    def of(self, principal: Principal) -> Iterator[None]:
        """The current task serves this caller, inside."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a request is served by a task")
        served = self._served[task] = _Served(task, principal)
        for subject in served.subjects:
            self._about.setdefault(subject, {})[served] = None
        self._arm(served)
        try:
            yield
        finally:
            if served.expiry is not None:
                served.expiry.cancel()
            self._forget(served)

    def heed(self, news: News | None) -> None:
        """End the requests of callers whom the news ends; look again at others of that key or user. Null: at all.

        What tiers and organisations allow is for whatever begins next.
        """
        found = self._served.values() if news is None else self._about.get((news.subject, news.id), ())
        for served in found:
            if news is not None and news.ended:
                served.revoke()
            else:
                self._doubt_of(served.principal)

    def end_all(self) -> None:
        """End every request: the process goes."""
        for task in tuple(self._served):
            task.cancel(Reason.DRAINING)

    async def run(self, holder: Holder) -> None:
        """Look again at callers when there is a reason to. `holder`: as the directory's. Until cancelled."""
        while True:
            while self._doubted:
                key_id = next(iter(self._doubted))
                del self._doubted[key_id]
                if not await self._look(key_id, holder):
                    self._doubted[key_id] = None
                    await asyncio.sleep(RETRY_S)
            self._doubt.clear()
            await self._doubt.wait()

    async def _look(self, key_id: str, holder: Holder) -> bool:
        """Take in what a caller may now; False: nobody knows at the moment."""
        try:
            principal = await holder(key_id)
        except RequestError as error:
            if error.code is Code.ACCOUNTS_UNAVAILABLE:
                return False
            for served in self._with(key_id):
                served.revoke()
            return True
        for served in self._with(key_id):
            if principal.covers(served.principal):
                served.principal = principal
                self._arm(served)
            else:
                served.revoke()
        return True

    def _doubt_of(self, principal: Principal) -> None:
        """Who has no key is looked up by whoever asks in the user's name."""
        if principal.key_id:
            self._doubted[principal.key_id] = None
            self._doubt.set()

    def _with(self, key_id: str) -> Iterable[_Served]:
        return self._about.get((Subject.KEY, key_id), ())

    def _forget(self, served: _Served) -> None:
        del self._served[served.task]
        for subject in served.subjects:
            about = self._about[subject]
            del about[served]
            if not about:
                del self._about[subject]

    def _arm(self, served: _Served) -> None:
        """What ends the request when its key does."""
        if served.expiry is not None:
            served.expiry.cancel()
            served.expiry = None
        expires_unix_s = served.principal.expires_unix_s
        if expires_unix_s is not None:
            left_s = min(expires_unix_s - self._clock.unix_s(), LONGEST_S)
            served.expiry = asyncio.get_running_loop().call_later(left_s, served.revoke)


def reason_of(error: asyncio.CancelledError) -> Reason | None:
    """Why we ended it; null when the client left."""
    return next((word for word in error.args if isinstance(word, Reason)), None)
