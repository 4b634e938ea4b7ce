"""What the simulated server remembers of its requests, for tests to read.

All times are seconds of the machine's monotonic clock, so that a test in another process of the same machine can
compare them with its own `time.monotonic()`.
"""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

SHOWN_KEY_CHARS = 4


class Outcome(StrEnum):
    """How a request ended. `refused`: the engine said no; `fault`: a fault of ours struck it."""

    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    REFUSED = "refused"
    FAULT = "fault"


@dataclass(slots=True, kw_only=True)
class Record:
    """One inference request.

    Attributes:
        number: 1 for the first.
        id: the client's `X-Request-Id`, "" without one.
        path: the route.
        headers: as received, names in lower case.
        body: as received, {} until it is read.
        prompt_tokens: read.
        cached_tokens: of them from the prefix cache.
        generated: tokens generated so far.
        sent: tokens handed to the socket so far.
        finish: finish_reason of a whole answer.
        fault: the kind of the fault that struck it.
        arrived_at: when its handler began.
        first_token_at: when the first token was generated.
        disconnected_at: when the server saw that the client had left.
        ended_at: when nothing more was done for it.
    """

    number: int
    id: str
    path: str
    headers: Mapping[str, str]
    arrived_at: float
    body: Mapping[str, Any] = field(default_factory=dict)
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated: int = 0
    sent: int = 0
    finish: str | None = None
    fault: str | None = None
    outcome: Outcome = Outcome.RUNNING
    first_token_at: float | None = None
    disconnected_at: float | None = None
    ended_at: float | None = None

    def shown(self) -> dict[str, Any]:
        """As JSON-able values; keys are shortened."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        headers = {name: _masked(value) if name == "authorization" else value for name, value in self.headers.items()}
        return values | {"headers": headers}


class Stats:
    """Totals since the start, and the latest requests."""

    def __init__(self, *, kept: int) -> None:
        self.records: deque[Record] = deque(maxlen=kept)
        self.active: dict[int, Record] = {}
        self.outcomes: Counter[Outcome] = Counter()
        self.finished: Counter[str] = Counter()
        self.started = 0
        self.prompt_tokens = 0
        self.prefill_s = 0.0
        self.decode_s = 0.0
        self._generated = 0

    @property
    def generated(self) -> int:
        """Tokens generated for all requests, those under way included."""
        return self._generated + sum(record.generated for record in self.active.values())

    @property
    def cancelled(self) -> int:
        """Requests whose client left before the end."""
        return self.outcomes[Outcome.CANCELLED]

    @property
    def held_tokens(self) -> int:
        """Tokens that the requests under way hold in memory; those in the queue hold none yet."""
        return sum(r.prompt_tokens + r.generated for r in self.active.values() if r.first_token_at is not None)

    def open(self, path: str, headers: Mapping[str, str], now: float) -> Record:
        """A request came."""
        self.started += 1
        lowered = {name.lower(): value for name, value in headers.items()}
        request_id = lowered.get("x-request-id", "")
        record = Record(number=self.started, id=request_id, path=path, headers=lowered, arrived_at=now)
        self.active[record.number] = record
        self.records.append(record)
        return record

    def close(self, record: Record, outcome: Outcome, now: float) -> None:
        """A request ended; the first word on how stands."""
        if self.active.pop(record.number, None) is None:
            return
        record.outcome = outcome
        record.ended_at = now
        self.outcomes[outcome] += 1
        self._generated += record.generated
        if outcome is Outcome.DONE and record.finish:
            self.finished[record.finish] += 1

    def find(self, request_id: str) -> list[Record]:
        """The remembered requests with this `X-Request-Id`, oldest first."""
        return [record for record in self.records if record.id == request_id]

    def totals(self) -> dict[str, int]:
        """Everything counted."""
        counted = {outcome.value: self.outcomes[outcome] for outcome in Outcome if outcome is not Outcome.RUNNING}
        tokens = {"prompt_tokens": self.prompt_tokens, "generated": self.generated}
        return {"started": self.started, "active": len(self.active), **counted, **tokens}


def _masked(value: str) -> str:
    scheme, _, key = value.rpartition(" ")
    return f"{scheme} …{key[-SHOWN_KEY_CHARS:]}".strip()
