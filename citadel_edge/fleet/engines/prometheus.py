"""A few numbers out of an engine's metrics page. Pure.

Looks for the lines that are wanted and parses those alone: an engine shows thousands of lines, once a second, and the
page is read on the loop that also relays tokens.
"""

import math
from collections.abc import Iterable, Iterator


def values(page: bytes, name: bytes) -> Iterator[float]:
    """The finite values of every sample of a metric, whatever its labels; none for a line that is cut."""
    at = 0 if page.startswith(name) else _next(page, name, 0)
    while at >= 0:
        end = page.find(b"\n", at)
        if end < 0:
            return
        value = _value(page[at + len(name) : end])
        if value is not None:
            yield value
        at = _next(page, name, end)


def total(page: bytes, *names: bytes) -> int | None:
    """The sum over all samples of the first of these metrics that is there, as a count; None when none is."""
    found = _first(page, names)
    return round(max(0.0, sum(found))) if found else None


def mean(page: bytes, *names: bytes) -> float | None:
    """The mean over all samples of the first of these metrics that is there; None when none is."""
    found = _first(page, names)
    return sum(found) / len(found) if found else None


def _next(page: bytes, name: bytes, start: int) -> int:
    """Where the next line from there on that begins with the name begins; -1 when there is none."""
    found = page.find(b"\n" + name, start)
    return found + 1 if found >= 0 else -1


def _first(page: bytes, names: Iterable[bytes]) -> list[float]:
    for name in names:
        if found := list(values(page, name)):
            return found
    return []


def _value(rest: bytes) -> float | None:
    """The value of a line behind its metric's name: labels, which may hold braces and spaces, then numbers."""
    if rest[:1] == b"{":
        rest = rest[rest.rfind(b"}") + 1 :]
    elif rest[:1] != b" ":
        return None  # a longer name
    try:
        value = float(rest.split(maxsplit=1)[0])
    except (ValueError, IndexError):
        return None
    return value if math.isfinite(value) else None
