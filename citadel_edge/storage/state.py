"""How a dependency is, in the words that health and the command line show. Values only."""

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """Whether a dependency answers. `UNKNOWN` until the first answer or failure."""

    UP = "up"
    DOWN = "down"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class DependencyState:
    """One look at a dependency.

    Attributes:
        detail: a sentence for the operator, without secrets.
        latency_ms: how long the answer took; None when there was none.
        outages: how often it was found away since the pool was opened.
    """

    status: Status
    detail: str
    latency_ms: float | None = None
    outages: int = 0
