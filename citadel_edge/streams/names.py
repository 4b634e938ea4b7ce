"""What streams and their epochs are called, and where they lie in Redis.

A stream's keys stand behind one of sixteen hash tags, so that a cluster keeps them together and spreads streams. Its
id tells which: `str_`, the tag as a hexadecimal digit, and a UUIDv7 in lower-case base32 (RFC 4648, "Extended Hex").
"""

import re
import secrets
from base64 import b32hexencode
from hashlib import sha256
from typing import Final
from uuid import UUID

from citadel_edge.streams.cursor import EPOCH_ALPHABET, EPOCH_CHARS
from citadel_edge.streams.values import Once

SLOTS: Final = 16
_ID: Final = re.compile(r"str_([0-9a-f])[0-9a-v]{26}", re.ASCII)


def stream_id(slot: int, unique: UUID) -> str:
    """The id of a new stream."""
    return f"str_{slot:x}{b32hexencode(unique.bytes).decode().rstrip('=').lower()}"


def slot_of(stream: str) -> int | None:
    """The slot that an id tells; None: it is no stream's id."""
    match = _ID.fullmatch(stream)
    return int(match[1], 16) if match else None


def slot_for(once: Once | None, *, salt: int, unix_s: float) -> int:
    """Where a new stream goes: one that may start once, where its key leads.

    All others of a process (which has a `salt`) that begin within a minute go together, so that they are written
    together; processes and minutes are spread.
    """
    return (salt + int(unix_s // 60)) % SLOTS if once is None else digest_of(once)[0] % SLOTS


def digest_of(once: Once) -> bytes:
    """A start's key, of one length whatever the client sent."""
    return sha256(once.key.encode()).digest()[:16]


def prefix(slot: int) -> str:
    """What the keys of a slot begin with."""
    return f"citadel:streams:{{s{slot:x}}}:"


def new_epoch() -> str:
    """The name of an epoch, like no other's."""
    number, letters = secrets.randbits(64), []
    for _ in range(EPOCH_CHARS):
        number, letter = divmod(number, len(EPOCH_ALPHABET))
        letters.append(EPOCH_ALPHABET[letter])
    return "".join(letters)
