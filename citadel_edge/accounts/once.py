"""Creates that are sent twice, made once: `Idempotency-Key`.

Decides what is the same create (caller, path, key and body), that its answer is remembered for a day in the transaction
of what it made, and that of two at once the second waits for the first. A create that failed is not remembered: it made
nothing, and may be tried again. Who remembers one takes some old ones away. Refuses to know what is made.
"""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeVar

import msgspec

from citadel_edge.accounts.desk import Actor, Change, Desk
from citadel_edge.errors import Code, RequestError

D = TypeVar("D", bound=Desk)
T = TypeVar("T")
REMEMBERED: Final = timedelta(hours=24)
FORGOTTEN_AT_ONCE: Final = 10
_LONGEST: Final = 255
# Nobody else sees a row before it is committed: whoever comes with the same id waits here for that.
_CLAIM: Final = """
INSERT INTO idempotency (id, body_hash) VALUES ($1, $2)
ON CONFLICT (id) DO UPDATE SET body_hash = excluded.body_hash, created_at = now()
WHERE idempotency.created_at <= now() - $3::interval
RETURNING 1"""
_FORGET: Final = """
DELETE FROM idempotency WHERE id IN (
    SELECT id FROM idempotency WHERE created_at <= now() - $1::interval
    ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED
)"""


@dataclass(frozen=True, slots=True)
class Create:
    """A create that named itself: what it is remembered by, and what it asked for."""

    id: bytes
    body_hash: bytes

    @classmethod
    def of(cls, *, caller: str, path: str, key: str, body: bytes) -> "Create":
        """The create of a user with this id; in `body`, which is JSON, neither blanks nor the order of fields count."""
        same = msgspec.json.encode(msgspec.json.decode(body), order="sorted")
        identity = hashlib.sha256(f"{caller}\0{path}\0{key}".encode(errors="replace"))
        return cls(identity.digest(), hashlib.sha256(same).digest())


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a client is answered: JSON, without anything secret. `version` is its ETag's."""

    status: int
    body: str
    version: int | None


@dataclass(frozen=True, slots=True)
class Replay:
    """The create was made before: what was answered then."""

    answer: Answer


def checked_key(text: str) -> str:
    """An idempotency key: 1 to 255 visible ASCII characters."""
    if not (0 < len(text) <= _LONGEST and text.isascii() and text.isprintable() and " " not in text):
        message = f"Expected an Idempotency-Key of 1 to {_LONGEST} visible ASCII characters, as a UUID."
        raise RequestError(Code.INVALID_REQUEST, message, param="Idempotency-Key")
    return text


async def once(
    desk: D,
    create: Create,
    make: Callable[[D], Awaitable[tuple[Answer, T]]],
    *,
    by: Actor,
) -> T | Replay:
    """Make something, unless this create made it before; then what was answered.

    Args:
        desk: where changes are made.
        create: what is asked for.
        make: makes it with the desk it is given; answers what may be remembered, and what the client gets.
        by: who answers for it.

    Raises:
        RequestError: `IDEMPOTENCY_MISMATCH` when the key was used for something else; whatever `make` raises.
        PostgresUnavailable: the database is away, or the same create under way did not end in time.
    """
    async with desk.change(by) as change:
        if (replay := await _remembered(change, create)) is not None:
            return replay
        answer, shown = await make(desk.inside(change))
        await change.connection.execute(
            "UPDATE idempotency SET status = $2, version = $3, answer = $4 WHERE id = $1",
            create.id,
            answer.status,
            answer.version,
            answer.body,
        )
        await change.connection.execute(_FORGET, REMEMBERED, FORGOTTEN_AT_ONCE)
    return shown


async def _remembered(change: Change, create: Create) -> Replay | None:
    if await change.fetchrow(_CLAIM, create.id, create.body_hash, REMEMBERED) is not None:
        return None
    row = await change.fetchrow("SELECT * FROM idempotency WHERE id = $1", create.id)
    if row["body_hash"] != create.body_hash:
        raise RequestError(
            Code.IDEMPOTENCY_MISMATCH,
            "This Idempotency-Key was used with another body. Take a new key for another request.",
            param="Idempotency-Key",
        )
    return Replay(Answer(status=row["status"], body=row["answer"], version=row["version"]))
