"""Checks of single values that the accounts take from clients. Pure.

Each answers the value as it is stored, or raises `RequestError` with the field it came in.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from citadel_edge.accounts.principal import Role
from citadel_edge.errors import Code, RequestError

E = TypeVar("E", bound=StrEnum)
MOST_CHARACTERS: Final = 128
LONGEST_TEXT: Final = 500


def name(value: str, *, param: str = "name") -> str:
    """A name people give: 1 to 128 printable characters, no space at either end."""
    if not (0 < len(value) <= MOST_CHARACTERS and value.isprintable() and value == value.strip()):
        raise _invalid(f"Expected 1 to {MOST_CHARACTERS} printable characters without space at either end.", param)
    return value


def text(value: str, *, param: str) -> str:
    """A sentence of people: 1 to 500 printable characters, no space at either end."""
    if not (0 < len(value) <= LONGEST_TEXT and value.isprintable() and value == value.strip()):
        raise _invalid(f"Expected 1 to {LONGEST_TEXT} printable characters without space at either end.", param)
    return value


def future(value: datetime, now: datetime, *, param: str) -> datetime:
    """A time to come, with its offset."""
    if value.tzinfo is None:
        raise _invalid("Expected a time with its offset, as 2027-01-31T00:00:00Z.", param)
    try:
        moment = value.astimezone(UTC)
    except OverflowError:
        raise _invalid("Expected a time before the year 9999.", param) from None
    if moment <= now:
        raise _invalid("Expected a time in the future.", param)
    return moment


def role(value: str, *, param: str = "role") -> Role:
    """A role by its name."""
    return one_of(value, Role, param=param)


def one_of(value: str, kinds: type[E], *, param: str) -> E:
    """One of a few words."""
    if value not in set(kinds):
        raise _invalid(f"There is no such {param}: expected one of {', '.join(kinds)}.", param)
    return kinds(value)


def time_zone(value: str, *, param: str = "time_zone") -> str:
    """The name of a time zone as IANA writes it. Reads the machine's zone files: call it in a thread."""
    try:
        if value != "UTC":
            ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise _invalid("There is no such time zone: expected a name as 'Europe/Berlin'.", param) from None
    return value


def maybe_plain(value: str | None, *, param: str) -> str | None:
    """As `plain`; nothing stays nothing."""
    return None if value is None else plain(value, param=param)


def plain(value: str, *, param: str) -> str:
    """A text that a database can hold: without zero bytes and half characters."""
    if "\0" in value or (not value.isascii() and value.encode(errors="replace").decode() != value):
        raise _invalid("Expected a text without zero bytes and in valid UTF-8.", param)
    return value


def _invalid(message: str, param: str) -> RequestError:
    return RequestError(Code.INVALID_REQUEST, message, param=param)
