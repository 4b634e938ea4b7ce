"""W3C Trace Context, level 1: take part in a caller's trace, or begin one.

Decides the `traceparent` that goes upstream. Refuses to know of spans as records: we export none, our log line carries
the trace id instead. That line is why a trace that begins here is marked as sampled.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_KNOWN_FLAGS: Final = 0x03  # sampled; random trace id (level 2 asks us to hand it on with an unchanged trace id)
_SAMPLED: Final = 0x01


@dataclass(frozen=True, slots=True)
class Trace:
    """Our place in a trace.

    Attributes:
        trace_id: 32 lower-case hexadecimal digits.
        span_id: 16 of them, new for each request.
        header: the `traceparent` to send on.
    """

    trace_id: str
    span_id: str
    header: str


def child(header: str | None, *, entropy: Callable[[int], bytes] = os.urandom) -> Trace:
    """Our span under the caller's `traceparent`; a new trace if there is none, or none that is valid."""
    trace_id, flags = _parse(header) or (_nonzero(entropy, 16), _SAMPLED)
    span_id = _nonzero(entropy, 8)
    return Trace(trace_id, span_id, f"00-{trace_id}-{span_id}-{flags:02x}")


def _parse(header: str | None) -> tuple[str, int] | None:
    """Trace id and the flags we understand. A later version is read by its first four fields (section 4.3)."""
    found = _TRACEPARENT.fullmatch(header.strip(" \t")) if header else None
    if found is None:
        return None
    version, trace_id, parent_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or not trace_id.strip("0") or not parent_id.strip("0"):
        return None
    return trace_id, int(flags, 16) & _KNOWN_FLAGS


def _nonzero(entropy: Callable[[int], bytes], size: int) -> str:
    """All zeros are invalid as an id."""
    drawn = entropy(size)
    return drawn.hex() if any(drawn) else "1".rjust(2 * size, "0")
