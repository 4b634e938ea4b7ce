"""Relay's lists: pages with a cursor for each item.

Decides how long a page may be, that a cursor names the kind of list that it is of and is good for no other, and how
lists that lie in memory are paged: in the order of their keys, so that what comes or goes meanwhile neither repeats nor
hides anything. Refuses to know what is listed.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from citadel_edge.accounts.pages import Page, PageRequest, cursor_of
from citadel_edge.errors import Code, RequestError

T = TypeVar("T")
USUAL: Final = 20
MOST: Final = 100


@dataclass(frozen=True, slots=True)
class Item:
    """One of a page."""

    node: Any
    cursor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PageInfo:
    """Where a page stands."""

    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A page. `complete`: of lists that may be a part of what there is."""

    nodes: tuple[Any, ...]
    edges: tuple[Item, ...]
    page_info: PageInfo
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Asked:
    """The page that is asked for. `kind`: of what is listed. `request`: as the accounts take it, with their cursor."""

    kind: str
    request: PageRequest


def wanted_page(kind: str, first: int | None, after: str | None) -> Asked:
    """What is asked for of a list of this kind. `RequestError`: no length of a page, or no cursor of such a list."""
    limit = USUAL if first is None else first
    if not 1 <= limit <= MOST:
        raise RequestError(Code.INVALID_REQUEST, f"Expected `first` from 1 to {MOST}, got {limit}.", param="first")
    return Asked(kind, PageRequest(limit=limit, after=None if after is None else cursor_of(_key(kind, after))))


def foreign(kind: str) -> RequestError:
    """The refusal of a cursor that no list of this kind gave."""
    words = f"This is no cursor of a list of this kind, {kind}: use `endCursor` of one of its pages."
    return RequestError(Code.INVALID_REQUEST, words, param="after")


def _key(kind: str, cursor: str) -> str:
    try:
        named, _, key = (PageRequest(after=cursor).key or "").partition(":")
    except RequestError:
        raise foreign(kind) from None
    if named != kind or not key:
        raise foreign(kind)
    return key


def connection(page: Page[T], asked: Asked, key: Callable[[T], object], *, complete: bool = True) -> Connection:
    """A page that was read, by the key that its cursors are made of."""
    items = tuple(Item(row, cursor_of(f"{asked.kind}:{key(row)}")) for row in page.data)
    return Connection(
        nodes=page.data,
        edges=items,
        page_info=PageInfo(
            has_next_page=page.next is not None,
            has_previous_page=asked.request.after is not None,
            start_cursor=items[0].cursor if items else None,
            end_cursor=items[-1].cursor if items else None,
        ),
        complete=complete,
    )


def of_memory(rows: Iterable[T], asked: Asked, key: Callable[[T], str], *, complete: bool = True) -> Connection:
    """A page of what lies in memory, in the order of its keys."""
    after, limit = asked.request.key, asked.request.limit
    wanted = sorted((row for row in rows if after is None or key(row) > after), key=key)
    shown = wanted[:limit]
    more = cursor_of(key(shown[-1])) if len(wanted) > limit else None
    return connection(Page(tuple(shown), more), asked, key, complete=complete)
