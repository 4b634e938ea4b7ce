"""The text of an API key: `cit_<env>_<id>_<secret><crc>`. Pure: entropy is an argument.

Id (22 digits), secret (43 digits: 256 bits) and CRC-32 of all before it (6 digits) are base62 of fixed lengths, so that
`_` only separates and a double click takes the whole. The CRC finds every slip of a key without asking a database.
The secret is kept nowhere: SHA-256 of its text is what a database holds, and that much entropy needs no slow hash.
"""

import hashlib
import hmac
import re
import zlib
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from citadel_edge.accounts.ids import ID_DIGITS, Kind, base62, make_id

SECRET_BYTES: Final = 32
SECRET_DIGITS: Final = 43
CRC_DIGITS: Final = 6
_SHORT: Final = {"development": "dev", "staging": "stg", "production": "prod", "test": "test"}
_KEY: Final = re.compile(
    rf"(?P<rest>cit_(?P<env>[a-z]{{2,8}})_(?P<id>[0-9A-Za-z]{{{ID_DIGITS}}})_(?P<secret>[0-9A-Za-z]{{{SECRET_DIGITS}}}))"
    rf"(?P<crc>[0-9A-Za-z]{{{CRC_DIGITS}}})"
)


@dataclass(frozen=True, slots=True)
class KeyText:
    """What a well-formed key says. `id` is the key's id in the accounts (`key_…`)."""

    env: str
    id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made: `text` is shown once to its owner, `hash` is stored."""

    id: str
    hash: bytes = field(repr=False)
    text: str = field(repr=False)


def env_of(environment: str) -> str:
    """The short name of a configured environment, as it stands in keys."""
    return _SHORT[environment]


def make(env: str, uuid: UUID, entropy: bytes) -> NewKey:
    """The key with this id and these 32 secret bytes."""
    if len(entropy) != SECRET_BYTES:
        raise ValueError(f"a secret is {SECRET_BYTES} bytes, got {len(entropy)}")
    key_id = make_id(Kind.KEY, uuid)
    secret = base62(int.from_bytes(entropy), SECRET_DIGITS)
    rest = f"cit_{env}_{key_id.removeprefix('key_')}_{secret}"
    return NewKey(id=key_id, hash=hash_secret(secret), text=rest + crc(rest))


def parse(text: str) -> KeyText | None:
    """What `text` says, or None when it is no key or was mistyped."""
    match = _KEY.fullmatch(text)
    if match is None or crc(match["rest"]) != match["crc"]:
        return None
    return KeyText(env=match["env"], id=f"key_{match['id']}", secret=match["secret"])


def crc(rest: str) -> str:
    """The check digits of everything before them."""
    return base62(zlib.crc32(rest.encode()), CRC_DIGITS)


def hash_secret(secret: str) -> bytes:
    """SHA-256 of the secret's text: 32 bytes."""
    return hashlib.sha256(secret.encode()).digest()


def matches(secret: str, stored: bytes) -> bool:
    """Whether `secret` is the one behind a stored hash, in a time that does not depend on where they differ."""
    return hmac.compare_digest(hash_secret(secret), stored)


def redact(text: str) -> str:
    """A key as it may be shown: its id without its secret. Anything else is hidden altogether."""
    key = parse(text)
    return f"cit_{key.env}_{key.id.removeprefix('key_')}_…" if key else "…"
