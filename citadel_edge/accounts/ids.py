"""How ids of accounts look: a prefix and 22 base62 digits of a UUIDv7. Pure.

Digits are in ASCII order and their number is fixed, so that texts sort as the numbers do: by the time they were made.
"""

import re
from enum import StrEnum
from typing import Final
from uuid import UUID

ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ID_DIGITS: Final = 22
_ID: Final = re.compile(r"(?:org|usr|key|top)_[0-9A-Za-z]{22}")


class Kind(StrEnum):
    """What an id names."""

    ORGANISATION = "org"
    USER = "usr"
    KEY = "key"
    TOP_UP = "top"


def base62(number: int, digits: int) -> str:
    """`number` (not negative) with exactly that many digits; `ValueError` when it has more."""
    text = ""
    for _ in range(digits):
        number, digit = divmod(number, len(ALPHABET))
        text = ALPHABET[digit] + text
    if number:
        raise ValueError(f"the number needs more than {digits} base62 digits")
    return text


def make_id(kind: Kind, uuid: UUID) -> str:
    """The id of a new thing, as `usr_` and 22 digits."""
    return f"{kind}_{base62(uuid.int, ID_DIGITS)}"


def is_id(kind: Kind, text: str) -> bool:
    """Whether `text` has the form of such an id."""
    return _ID.fullmatch(text) is not None and text.startswith(f"{kind}_")
