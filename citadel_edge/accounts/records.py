"""What the directory remembers of keys, or of users by id, bounded. No I/O; times are arguments.

Decides what is fresh, what is stale but may still serve, and what is forgotten. Two memories: records by id, those of
keys with the texts that were proven to belong to them (by digest: no key stands in memory), and ids that nobody has.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from citadel_edge.accounts.news import News, Subject
from citadel_edge.accounts.principal import Principal

RECORDS: Final = 20_000
ABSENT: Final = 20_000
FRESH_S: Final = 60.0
ABSENT_S: Final = 10.0


@dataclass(slots=True, kw_only=True)
class Record:
    """A key, or a user, as the accounts have it. `fresh_until_s` is monotonic, `expires_unix_s` calendar time.

    What belongs to a key alone (hash, expiry, end) says nothing in the record of a user.
    """

    principal: Principal
    suspended: bool
    hash: bytes = b""
    expires_unix_s: float | None = None
    revoked: bool = False
    made_s: float
    epochs: tuple[int, ...]
    fresh_until_s: float
    digest: bytes | None = None

    @property
    def id(self) -> str:
        """The key's id; of a user's record the user's."""
        return self.principal.key_id or self.principal.user_id

    def serves(self, now_unix_s: float) -> bool:
        """Whether its owner may come in."""
        return not self.revoked and not self.suspended and not self.expired(now_unix_s)

    def expired(self, now_unix_s: float) -> bool:
        """Whether its time is over."""
        return self.expires_unix_s is not None and now_unix_s >= self.expires_unix_s


class Records:
    """The least recently used are forgotten first."""

    def __init__(self, most: int = RECORDS, most_absent: int = ABSENT) -> None:
        self._records: OrderedDict[str, Record] = OrderedDict()
        self._proven: dict[bytes, Record] = {}
        self._absent: OrderedDict[str, float] = OrderedDict()
        self._most = most
        self._most_absent = most_absent

    def __len__(self) -> int:
        return len(self._records)

    def ids(self) -> list[str]:
        """The ids of all that is remembered."""
        return list(self._records)

    def proven(self, digest: bytes) -> Record | None:
        """The record whose key has this digest, if it was proven before."""
        return self._proven.get(digest)

    def get(self, identity: str) -> Record | None:
        """The record of an id, fresh or stale; counts as a use."""
        record = self._records.get(identity)
        if record is not None:
            self._records.move_to_end(identity)
        return record

    def is_absent(self, identity: str, now_s: float) -> bool:
        """Whether it is known that nobody has this id."""
        return self._absent.get(identity, 0.0) > now_s

    def put(self, record: Record) -> None:
        """Remember a record; a key's text has to be proven again."""
        self.forget(record.id)
        self._records[record.id] = record
        while len(self._records) > self._most:
            self.forget(next(iter(self._records)))

    def put_absent(self, identity: str, now_s: float) -> None:
        """Remember for a moment that nobody has this id."""
        self.forget(identity)
        self._absent[identity] = now_s + ABSENT_S
        while len(self._absent) > self._most_absent:
            self._absent.popitem(last=False)

    def prove(self, record: Record, digest: bytes) -> None:
        """The text with this digest was shown to be the record's key."""
        if self._records.get(record.id) is record:
            self._unprove(record)
            record.digest = digest
            self._proven[digest] = record

    def forget(self, identity: str) -> None:
        """Know nothing of this id any more."""
        self._absent.pop(identity, None)
        record = self._records.pop(identity, None)
        if record is not None:
            self._unprove(record)

    def apply(self, news: News) -> None:
        """Forget whatever the news is about."""
        if news.subject is Subject.KEY:
            self.forget(news.id)
            return
        self._forget_if(lambda record: news.is_about(record.principal))

    def doubt_all(self) -> None:
        """News may have been missed: nothing is fresh any more, and what was absent may be there."""
        self._absent.clear()
        for record in self._records.values():
            record.fresh_until_s = 0.0

    def refresh(self, record: Record) -> None:
        """Replace what is remembered by something newer; a proven text of the same secret stays proven."""
        known = self._records.get(record.id)
        if known is None or known.made_s > record.made_s:
            return
        digest = known.digest if known.hash == record.hash else None
        self.put(record)
        if digest is not None:
            self.prove(record, digest)

    def _forget_if(self, condition: Callable[[Record], bool]) -> None:
        for identity in [identity for identity, record in self._records.items() if condition(record)]:
            self.forget(identity)

    def _unprove(self, record: Record) -> None:
        if record.digest is not None and self._proven.get(record.digest) is record:
            del self._proven[record.digest]
        record.digest = None
