"""Pages of lists: how many rows, after which one, and the cursor to the next.

Decides that pages follow a key (rows that come or go meanwhile neither repeat nor hide others) and are bounded.
"""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from citadel_edge.errors import Code, RequestError

T = TypeVar("T")
MOST: Final = 200
_LONGEST_CURSOR: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest:
    """What a client asks for: `limit` rows (1 to 200) after the cursor of the page before."""

    limit: int = 50
    after: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= MOST:
            raise RequestError(Code.INVALID_REQUEST, f"Expected a limit from 1 to {MOST}.", param="limit")

    @property
    def key(self) -> str | None:
        """The key of the last row that the client has."""
        return None if self.after is None else _read(self.after)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows in order, and the cursor behind them if there are more."""

    data: tuple[T, ...]
    next: str | None


class Where:
    """The conditions of a query and their arguments, as they are asked for: a plan is made for these alone."""

    def __init__(self) -> None:
        self.arguments: list[object] = []
        self._conditions: list[str] = []

    def add(self, condition: str, value: object) -> "Where":
        """A condition on a value, which stands as `{}` in it; none where the value is None."""
        if value is not None:
            self._conditions.append(condition.format(self.argument(value)))
        return self

    def argument(self, value: object) -> str:
        """A further argument, as it stands in the query."""
        self.arguments.append(value)
        return f"${len(self.arguments)}"

    def __str__(self) -> str:
        return f"WHERE {' AND '.join(self._conditions)}" if self._conditions else ""


def page(rows: list[Any], request: PageRequest, *, make: Callable[[Any], T], key: Callable[[Any], object]) -> Page[T]:
    """A page of rows that were asked for with one row more than the limit, to see whether there are more."""
    shown = rows[: request.limit]
    more = len(rows) > request.limit
    return Page(tuple(make(row) for row in shown), cursor_of(str(key(shown[-1]))) if more else None)


def cursor_of(key: str) -> str:
    """The cursor behind the row with this key."""
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def _read(cursor: str) -> str:
    padded = cursor[:_LONGEST_CURSOR].encode(errors="replace") + b"=" * (-len(cursor) % 4)
    try:
        key = base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        key = ""
    if not key or "\0" in key:
        raise RequestError(Code.INVALID_REQUEST, "This is no cursor of ours: use `next` of a page.", param="after")
    return key
