"""Who a key belongs to, answered from memory.

Decides whether a key opens the door. A hit is synchronous; a miss is one query, however many ask for the same key.
News of changes arrive through PostgreSQL and Redis, whichever is first. While PostgreSQL is away, what is remembered
goes on serving as long as news are heard without a gap, and 60 s longer; unknown keys are answered 503.
Refuses to know what a role may do.

No message tells whether the id or the secret was wrong.
"""

import asyncio
import hashlib
from collections.abc import Callable
from typing import Final

from structlog.typing import FilteringBoundLogger

from citadel_edge.accounts.hearing import Ears, Hearing
from citadel_edge.accounts.key_loader import KeyLoader
from citadel_edge.accounts.keys import matches, parse
from citadel_edge.accounts.last_used import LastUsed
from citadel_edge.accounts.news import POSTGRES_CHANNEL, REDIS_CHANNEL, News, Subject, read
from citadel_edge.accounts.principal import Principal
from citadel_edge.accounts.records import FRESH_S, Record, Records
from citadel_edge.errors import Code, PostgresUnavailable, RequestError
from citadel_edge.storage.postgres import PostgresPool
from citadel_edge.storage.redis_pool import RedisPool
from citadel_edge.telemetry.clock import Clock

RETRY_S: Final = 1.0
CHUNK: Final = 1000


class Directory:
    """The callers this process knows. `run` is its worker; without it nothing is heard of changes made elsewhere."""

    def __init__(
        self,
        postgres: PostgresPool,
        redis: RedisPool,
        *,
        clock: Clock,
        log: FilteringBoundLogger,
        records: Records | None = None,
    ) -> None:
        self._postgres = postgres
        self._redis = redis
        self._clock = clock
        self._log = log
        self._records = Records() if records is None else records
        self._by_postgres, self._by_redis = Hearing(), Hearing()
        self._ears = Ears((self._by_postgres, self._by_redis))
        self._loader = KeyLoader(postgres, clock=clock, epochs=self._ears.epochs)
        self._last_used = LastUsed(postgres, log=log)
        self._doubt = asyncio.Event()
        self._watchers: list[Callable[[News], None]] = []

    def lookup(self, text: str) -> Principal | None:
        """The caller with this key, if it is freshly known to be let in. No await, no database."""
        record = self._records.proven(_digest(text))
        if record is None or self._clock.monotonic_s() >= record.fresh_until_s:
            return None
        now_unix_s = self._clock.unix_s()
        if not record.serves(now_unix_s):
            return None
        self._last_used.note(record.principal.key_id, now_unix_s)
        return record.principal

    async def authenticate(self, text: str) -> Principal:
        """The caller with this key.

        Raises:
            RequestError: `INVALID_API_KEY` (401), `SUSPENDED` (403), or `ACCOUNTS_UNAVAILABLE` (503) when the key is
                not remembered and PostgreSQL is away.
        """
        principal = self.lookup(text)
        if principal is not None:
            return principal
        key = parse(text)
        record = await self._record(key.id) if key else None
        if key is None or record is None or not matches(key.secret, record.hash):
            raise _refused("The API key is not valid. Check it, or ask your administrator for a new one.")
        now_unix_s = self._clock.unix_s()
        _demand_open(record, now_unix_s)
        self._records.prove(record, _digest(text))
        self._last_used.note(key.id, now_unix_s)
        return record.principal

    def apply(self, news: News) -> None:
        """Take note of a change at once. Whoever makes one calls this before answering, so that it holds here."""
        self._loader.spoil()
        self._records.apply(news)
        if news.ended:
            for watcher in self._watchers:
                watcher(news)

    def on_revoked(self, watcher: Callable[[News], None]) -> None:
        """Call `watcher(news)` when a key or user was ended (ask `news.ends(principal)`); the same may come twice."""
        self._watchers.append(watcher)

    async def run(self) -> None:
        """Hear the news, look again after a gap, and write down when keys were used. Until cancelled."""
        by_postgres = self._postgres.listener(
            POSTGRES_CHANNEL, self._hear, self._begin(self._by_postgres), self._end(self._by_postgres)
        )
        by_redis = self._redis.listener(
            REDIS_CHANNEL,
            lambda data: self._hear(data.decode(errors="replace")),
            self._begin(self._by_redis),
            self._end(self._by_redis),
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(by_postgres.run(), name="accounts news by PostgreSQL")
            group.create_task(by_redis.run(), name="accounts news by Redis")
            group.create_task(self._look_again(), name="accounts look again")
            group.create_task(self._last_used.run(), name="accounts last used")

    async def _record(self, key_id: str) -> Record | None:
        now_s = self._clock.monotonic_s()
        known = self._records.get(key_id)
        if known is not None and now_s < known.fresh_until_s:
            return known
        if self._records.is_absent(key_id, now_s):
            return None
        try:
            return await self._loader.load(key_id, self._remember)
        except PostgresUnavailable as error:
            return self._trusted(key_id, error)

    def _remember(self, key_id: str, record: Record | None) -> None:
        if record is None:
            self._records.put_absent(key_id, self._clock.monotonic_s())
        else:
            self._records.put(record)

    def _trusted(self, key_id: str, error: PostgresUnavailable) -> Record:
        """What is remembered of a key that cannot be asked for now, if no news of it can have been missed for long."""
        now_s = self._clock.monotonic_s()
        known = self._records.get(key_id)
        until_s = 0.0 if known is None else FRESH_S + self._ears.confirmed_s(known.made_s, known.epochs, now_s)
        if known is None or until_s <= now_s:
            raise RequestError(
                Code.ACCOUNTS_UNAVAILABLE,
                "Keys cannot be checked at the moment because the accounts' database is away. Try again soon.",
                retry_after_s=RETRY_S,
            ) from error
        known.fresh_until_s = min(now_s + RETRY_S, until_s)
        return known

    def _hear(self, line: str) -> None:
        news = read(line)
        if news is not None:
            self.apply(news)

    def _begin(self, hearing: Hearing) -> Callable[[], None]:
        """What to do when a channel is heard (again): news may have been missed before."""

        def begin() -> None:
            hearing.begin()
            self._loader.spoil()
            self._records.doubt_all()
            self._doubt.set()

        return begin

    def _end(self, hearing: Hearing) -> Callable[[], None]:
        return lambda: hearing.end(self._clock.monotonic_s())

    async def _look_again(self) -> None:
        """After a gap, read all remembered keys anew, so that those ended meanwhile end here too."""
        while True:
            await self._doubt.wait()
            self._doubt.clear()
            try:
                await self._read_anew(self._records.ids())
            except PostgresUnavailable:
                self._doubt.set()
                await asyncio.sleep(RETRY_S)
                await self._postgres.wait_until_up()

    async def _read_anew(self, key_ids: list[str]) -> None:
        for start in range(0, len(key_ids), CHUNK):
            chunk = key_ids[start : start + CHUNK]
            found = await self._loader.load_many(chunk)
            for key_id in chunk:
                record = found.get(key_id)
                if record is None or record.revoked or record.suspended:
                    self.apply(News(Subject.KEY, key_id, ended=True))
                else:
                    self._records.refresh(record)


def _digest(text: str) -> bytes:
    """What a key is remembered by. No key holds a character that `replace` puts in."""
    return hashlib.sha256(text.encode(errors="replace")).digest()


def _demand_open(record: Record, now_unix_s: float) -> None:
    """Raise why this caller, whose secret is right, is not let in."""
    if record.revoked:
        raise _refused("The API key has been revoked. Ask your administrator for a new one.")
    if record.expired(now_unix_s):
        raise _refused("The API key has expired. Ask your administrator for a new one.")
    if record.suspended:
        raise RequestError(Code.SUSPENDED, "The user of this API key is suspended. Ask your administrator.")


def _refused(message: str) -> RequestError:
    return RequestError(Code.INVALID_API_KEY, message, headers={"WWW-Authenticate": "Bearer"})
