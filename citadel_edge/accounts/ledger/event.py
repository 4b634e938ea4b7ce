"""What the ledger keeps of a finished request. Values; what they cost was decided by who made them.

Fields are the columns of `usage_events`. Refuses to know how a row is written down (`codec`) and where it goes.
"""

import hashlib
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final
from uuid import UUID

import msgspec

_MINUTE_MS: Final = 60_000


class Outcome(StrEnum):
    """How a request ended."""

    DONE = "done"
    ERROR = "error"
    TRUNCATED = "truncated"
    CANCELLED = "cancelled"
    DENIED = "denied"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of a row but its count.

    Attributes:
        event_id: a UUIDv7 of ours, the unique key.
        request_id: the client's or ours; not unique.
        tier: the tier's name at that moment.
        upstream: the replica of the last attempt, if one was made.
        listener: whose door took the request.
        cost_usd: exact; kept to twelve decimals.
        ttft_ms: milliseconds to the first token, if one came.
        created_at: aware; when the request came.
    """

    event_id: UUID
    request_id: str
    organisation_id: str
    user_id: str
    key_id: str
    tier: str
    model: str
    upstream: str | None = None
    endpoint: str
    listener: str
    decision_id: str | None = None
    attempts: int
    tokens_in: int
    tokens_out: int
    cost_usd: Decimal
    outcome: Outcome
    ttft_ms: float | None = None
    duration_ms: float
    created_at: datetime


class UsageEvent(Facts, frozen=True, kw_only=True):
    """One row of `usage_events`. `count` is over one for folded denials alone."""

    count: int = 1


class Fold(Facts, frozen=True, kw_only=True):
    """A contribution to the row that stands for a user's denials by one limit in one minute.

    Attributes:
        fold_id: names the contribution, so that it is added once however often it is sent.
    """

    fold_id: UUID


def minute_of(event: Facts) -> int:
    """The minute in which the request came, in milliseconds since 1970."""
    unix_ms = int(event.created_at.timestamp() * 1000)
    return unix_ms - unix_ms % _MINUTE_MS


def denial_id(user_id: str, limit: str, minute_ms: int) -> UUID:
    """The event id that all instances give to a user's denials by one limit in one minute: a UUIDv7 made of a hash."""
    digest = hashlib.blake2b(f"{user_id}\0{limit}".encode(errors="replace"), digest_size=10).digest()
    random = int.from_bytes(digest)
    high = (minute_ms & 0xFFFF_FFFF_FFFF) << 16 | 0x7000 | random >> 68
    low = 0b10 << 62 | random & 0x3FFF_FFFF_FFFF_FFFF
    return UUID(int=high << 64 | low)


def contribution(denial: UsageEvent, *, limit: str, fold_id: UUID) -> Fold:
    """The denial as a contribution to its minute's row. The row keeps the first denial's request."""
    minute_ms = minute_of(denial)
    facts = {name: getattr(denial, name) for name in Facts.__struct_fields__}
    facts["event_id"] = denial_id(denial.user_id, limit, minute_ms)
    facts["created_at"] = datetime.fromtimestamp(minute_ms / 1000, denial.created_at.tzinfo)
    return Fold(**facts, fold_id=fold_id)
