"""Checks of single values that the accounts take from clients. Pure.

Each answers the value as it is stored, or raises `RequestError` with the field it came in.
"""

from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from citadel_edge.accounts.principal import Role
from citadel_edge.errors import Code, RequestError

MOST_CHARACTERS: Final = 128


def name(value: str, *, param: str = "name") -> str:
    """A name people give: 1 to 128 printable characters, no space at either end."""
    if not (0 < len(value) <= MOST_CHARACTERS and value.isprintable() and value == value.strip()):
        raise _invalid(f"Expected 1 to {MOST_CHARACTERS} printable characters without space at either end.", param)
    return value


def role(value: str, *, param: str = "role") -> Role:
    """A role by its name."""
    if value not in set(Role):
        raise _invalid(f"There is no such role: expected one of {', '.join(Role)}.", param)
    return Role(value)


def time_zone(value: str, *, param: str = "time_zone") -> str:
    """The name of a time zone as IANA writes it. Reads the machine's zone files: call it in a thread."""
    try:
        if value != "UTC":
            ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise _invalid("There is no such time zone: expected a name as 'Europe/Berlin'.", param) from None
    return value


def plain(value: str, *, param: str) -> str:
    """A text that a database can hold: without zero bytes and half characters."""
    if "\0" in value or (not value.isascii() and value.encode(errors="replace").decode() != value):
        raise _invalid("Expected a text without zero bytes and in valid UTF-8.", param)
    return value


def _invalid(message: str, param: str) -> RequestError:
    return RequestError(Code.INVALID_REQUEST, message, param=param)
