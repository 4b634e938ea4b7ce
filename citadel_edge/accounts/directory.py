"""Who a key belongs to, and who a user is, answered from memory.

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
from citadel_edge.accounts.ids import Kind, is_id
from citadel_edge.accounts.keys import matches, parse
from citadel_edge.accounts.last_used import LastUsed
from citadel_edge.accounts.loader import OF_KEYS, OF_USERS, Loader
from citadel_edge.accounts.memory import Memory
from citadel_edge.accounts.news import POSTGRES_CHANNEL, REDIS_CHANNEL, News, Subject, read
from citadel_edge.accounts.principal import Principal
from citadel_edge.accounts.records import Record, Records
from citadel_edge.accounts.zones import Zones
from citadel_edge.errors import Code, PostgresUnavailable, RequestError
from citadel_edge.storage.postgres import PostgresPool
from citadel_edge.storage.redis_pool import RedisPool
from citadel_edge.telemetry.clock import Clock

RETRY_S: Final = 1.0


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
        self._by_postgres, self._by_redis = Hearing(), Hearing()
        ears = Ears((self._by_postgres, self._by_redis))
        self.zones = Zones(log)
        of_keys = Loader(postgres, OF_KEYS, zones=self.zones, clock=clock, epochs=ears.epochs)
        of_users = Loader(postgres, OF_USERS, zones=self.zones, clock=clock, epochs=ears.epochs)
        self._keys = Memory(of_keys, ears, clock=clock, records=records)
        self._users = Memory(of_users, ears, clock=clock)
        self._last_used = LastUsed(postgres, log=log)
        self._doubt = asyncio.Event()
        self._watchers: list[Callable[[News | None], None]] = []

    def lookup(self, text: str) -> Principal | None:
        """The caller with this key, if it is freshly known to be let in. No await, no database."""
        record = self._keys.records.proven(_digest(text))
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
        record = await self._keys.record(key.id) if key else None
        if key is None or record is None or not matches(key.secret, record.hash):
            raise _refused("The API key is not valid. Check it, or ask your administrator for a new one.")
        now_unix_s = self._clock.unix_s()
        _demand_open(record, now_unix_s)
        self._keys.records.prove(record, _digest(text))
        self._last_used.note(key.id, now_unix_s)
        return record.principal

    async def holder(self, key_id: str) -> Principal:
        """The caller with the key of this id, for whoever has proven before that the caller has it.

        Raises:
            RequestError: as `authenticate`.
        """
        record = await self._keys.record(key_id) if is_id(Kind.KEY, key_id) else None
        if record is None:
            raise _refused("The API key is no longer there. Ask your administrator for a new one.")
        _demand_open(record, self._clock.unix_s())
        return record.principal

    async def entitled(self, user_id: str) -> Principal:
        """A user by id, for whoever asks in the user's name: a principal without a key.

        Raises:
            RequestError: `NOT_FOUND` (404), `SUSPENDED` (403), or `ACCOUNTS_UNAVAILABLE` (503) when the user is not
                remembered and PostgreSQL is away.
        """
        record = await self._user(user_id)
        if record.suspended:
            raise RequestError(Code.SUSPENDED, "The user is suspended.")
        return record.principal

    async def described(self, user_id: str) -> Principal:
        """As `entitled`, suspended or not: for whoever looks at the account and asks for nothing in its name."""
        return (await self._user(user_id)).principal

    def apply(self, news: News) -> None:
        """Take note of a change at once. Whoever makes one calls this before answering, so that it holds here."""
        self._keys.apply(news)
        self._users.apply(news)
        self._tell(news)

    def on_news(self, watcher: Callable[[News | None], None]) -> None:
        """Call `watcher(news)` when something changed, with null when anything may have; the same may come twice."""
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

    def _tell(self, news: News | None) -> None:
        for watcher in self._watchers:
            watcher(news)

    async def _user(self, user_id: str) -> Record:
        record = await self._users.record(user_id) if is_id(Kind.USER, user_id) else None
        if record is None:
            raise RequestError(Code.NOT_FOUND, "There is no such user.")
        return record

    def _hear(self, line: str) -> None:
        news = read(line)
        if news is not None:
            self.apply(news)

    def _begin(self, hearing: Hearing) -> Callable[[], None]:
        """What to do when a channel is heard (again): news may have been missed before."""

        def begin() -> None:
            hearing.begin()
            self._keys.doubt()
            self._users.doubt()
            self._doubt.set()

        return begin

    def _end(self, hearing: Hearing) -> Callable[[], None]:
        return lambda: hearing.end(self._clock.monotonic_s())

    async def _look_again(self) -> None:
        """After a gap, read all that is remembered anew, so that those ended meanwhile end here too."""
        while True:
            await self._doubt.wait()
            self._doubt.clear()
            try:
                async for key_id in self._keys.read_anew():
                    self.apply(News(Subject.KEY, key_id, ended=True))
                async for user_id in self._users.read_anew():
                    self.apply(News(Subject.USER, user_id, ended=True))
                self._tell(None)
            except PostgresUnavailable:
                self._doubt.set()
                await asyncio.sleep(RETRY_S)
                await self._postgres.wait_until_up()


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
