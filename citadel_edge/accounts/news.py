"""News of accounts, as one line of text: what changed, and whether it ended. Pure.

The same line travels through PostgreSQL's NOTIFY (made by triggers, see migration 0001) and Redis's PUBLISH; whichever
arrives first counts, and the second does no harm.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from citadel_edge.accounts.principal import Principal

REDIS_CHANNEL: Final = "citadel:accounts"
POSTGRES_CHANNEL: Final = "citadel_accounts"


class Subject(StrEnum):
    """What the news is about."""

    KEY = "key"
    USER = "user"
    TIER = "tier"
    ORGANISATION = "organisation"


@dataclass(frozen=True, slots=True)
class News:
    """`ended`: a key was revoked or deleted, a user suspended or deleted; what runs in their name has to stop."""

    subject: Subject
    id: str
    ended: bool = False

    def __str__(self) -> str:
        return f"{'ended' if self.ended else 'changed'} {self.subject} {self.id}"

    def is_about(self, principal: Principal) -> bool:
        """Whether what is known of this caller may be wrong now."""
        mine = {
            Subject.KEY: principal.key_id,
            Subject.USER: principal.user_id,
            Subject.TIER: principal.tier,
            Subject.ORGANISATION: principal.organisation_id,
        }
        return mine[self.subject] == self.id

    def ends(self, principal: Principal) -> bool:
        """Whether this caller's running work has to stop."""
        return self.ended and self.is_about(principal)


def read(line: str) -> News | None:
    """The news in a line, or None when it is none of ours (a later version may say more)."""
    verb, _, rest = line.partition(" ")
    subject, _, name = rest.partition(" ")
    if verb not in ("changed", "ended") or subject not in set(Subject) or not name:
        return None
    return News(Subject(subject), name, ended=verb == "ended")
