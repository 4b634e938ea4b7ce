"""What is remembered of callers, and read when it is not: the keys' owners, or users by id.

Decides when a memory may answer instead of the database: while it is fresh, and while PostgreSQL is away as long as
news were heard without a gap since it was made, and 60 s longer. Refuses to know who is let in.
"""

from collections.abc import AsyncIterator
from typing import Final

from citadel_edge.accounts.hearing import Ears
from citadel_edge.accounts.loader import Loader
from citadel_edge.accounts.news import News
from citadel_edge.accounts.records import FRESH_S, Record, Records
from citadel_edge.errors import Code, PostgresUnavailable, RequestError
from citadel_edge.telemetry.clock import Clock

RETRY_S: Final = 1.0
CHUNK: Final = 1000


class Memory:
    """Records of one kind, and the loader that reads them."""

    def __init__(self, loader: Loader, ears: Ears, *, clock: Clock, records: Records | None = None) -> None:
        self.records = Records() if records is None else records
        self._loader = loader
        self._ears = ears
        self._clock = clock

    async def record(self, identity: str) -> Record | None:
        """What is known of an id, asked for if need be; None if nobody has it.

        Raises:
            RequestError: `ACCOUNTS_UNAVAILABLE` when it cannot be asked for and what is remembered is too old.
        """
        now_s = self._clock.monotonic_s()
        known = self.records.get(identity)
        if known is not None and now_s < known.fresh_until_s:
            return known
        if self.records.is_absent(identity, now_s):
            return None
        try:
            return await self._loader.load(identity, self._remember)
        except PostgresUnavailable as error:
            return self._trusted(identity, error)

    def apply(self, news: News) -> None:
        """Forget what the news is about, also what is being read at this moment."""
        self._loader.spoil()
        self.records.apply(news)

    def doubt(self) -> None:
        """News may have been missed."""
        self._loader.spoil()
        self.records.doubt_all()

    async def read_anew(self) -> AsyncIterator[str]:
        """Read all that is remembered again; answers the ids that ended meanwhile, still remembered as they were.

        Raises:
            PostgresUnavailable: the database is away (again).
        """
        identities = self.records.ids()
        for start in range(0, len(identities), CHUNK):
            chunk = identities[start : start + CHUNK]
            found = await self._loader.load_many(chunk)
            for identity in chunk:
                record = found.get(identity)
                if record is None or record.revoked or record.suspended:
                    yield identity
                else:
                    self.records.refresh(record)

    def _remember(self, identity: str, record: Record | None) -> None:
        if record is None:
            self.records.put_absent(identity, self._clock.monotonic_s())
        else:
            self.records.put(record)

    def _trusted(self, identity: str, error: PostgresUnavailable) -> Record:
        """What is remembered of an id that cannot be asked for now, if no news of it can have been missed for long."""
        now_s = self._clock.monotonic_s()
        known = self.records.get(identity)
        until_s = 0.0 if known is None else FRESH_S + self._ears.confirmed_s(known.made_s, known.epochs, now_s)
        if known is None or until_s <= now_s:
            raise RequestError(
                Code.ACCOUNTS_UNAVAILABLE,
                "Callers cannot be checked at the moment because the accounts' database is away. Try again soon.",
                retry_after_s=RETRY_S,
            ) from error
        known.fresh_until_s = min(now_s + RETRY_S, until_s)
        return known
