"""What shall go wrong, for which requests, and how often.

Decides whether a request is struck and by which fault; the order of requests and the seed decide, so a run repeats.
Refuses to know how a fault is done: that is `wounds` and `serving`.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

Count = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0)]
Fraction = Annotated[float, Meta(ge=0, le=1)]


class FaultKind(StrEnum):
    """The ways to fail.

    Before an answer: `refuse` accepts and resets; `unreachable` is a dead process (nothing listens, open connections
    are reset); `freeze` answers nothing at all; `429`, `424`, `500`, `503` answer so in the engine's shape;
    `slow_first_token` waits `delay_s`; `garbage` answers 200 with something that is neither SSE nor JSON.
    After `after_tokens`: `stall` falls silent; `reset` sends RST; `cut` closes without the end of the body;
    `end_early` ends the body without a terminal event; `error_event` reports the engine's failure in the stream;
    `bad_json` and `invalid_utf8` send one broken event and go on. `torn_utf8` is legal: each character of several
    bytes comes in two segments. `unreachable` with `after_tokens` dies in the middle of an answer.
    """

    REFUSE = "refuse"
    UNREACHABLE = "unreachable"
    FREEZE = "freeze"
    RATE_LIMITED = "429"
    GENERATION_ERROR = "424"
    FAILED = "500"
    UNAVAILABLE = "503"
    SLOW_START = "slow_first_token"
    GARBAGE = "garbage"
    STALL = "stall"
    RESET = "reset"
    CUT = "cut"
    END_EARLY = "end_early"
    ERROR_EVENT = "error_event"
    BAD_JSON = "bad_json"
    INVALID_UTF8 = "invalid_utf8"
    TORN_UTF8 = "torn_utf8"

    @property
    def status(self) -> int | None:
        """The HTTP status that it answers, for those that do."""
        return int(self.value) if self.value.isdigit() else None


DEFAULT_AFTER_TOKENS = 3
AMID = frozenset(
    {
        FaultKind.STALL,
        FaultKind.RESET,
        FaultKind.CUT,
        FaultKind.END_EARLY,
        FaultKind.ERROR_EVENT,
        FaultKind.BAD_JSON,
        FaultKind.INVALID_UTF8,
        FaultKind.UNREACHABLE,
    }
)
EVERYWHERE = frozenset({FaultKind.REFUSE, FaultKind.FREEZE})


class Match(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which requests. What is not given matches all; without `path` most kinds strike inference routes alone."""

    path: str | None = None
    model: str | None = None
    stream: bool | None = None
    contains: str | None = None
    headers: dict[str, str] = {}


class Fault(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One fault.

    Attributes:
        kind: what happens.
        after_tokens: how many tokens come first, for the kinds of mid-stream; 3 when it is not given.
        delay_s: of `slow_first_token`, seconds.
        duration_s: end of `stall`, `freeze` and `unreachable`, seconds; None: until the fault is deleted.
        retry_after_s: of `429` and `503`, seconds; None sends no such header.
        times: how many requests it strikes; None: all.
        skip: how many matching requests pass first.
        probability: with which each of the others is struck.
        match: which requests it concerns.
    """

    kind: FaultKind
    after_tokens: Count | None = None
    delay_s: Seconds = 5.0
    duration_s: Seconds | None = None
    retry_after_s: Seconds | None = None
    times: Count | None = None
    skip: Count = 0
    probability: Fraction = 1.0
    match: Match = Match()

    @property
    def trip(self) -> int:
        """Before which token it strikes, counted from 0; -1 for the kinds that are not of mid-stream."""
        if self.kind not in AMID:
            return -1
        return DEFAULT_AFTER_TOKENS if self.after_tokens is None else self.after_tokens

    @property
    def at_once(self) -> bool:
        """It needs no request to happen."""
        return self.kind is FaultKind.UNREACHABLE and self.after_tokens is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a request when faults are chosen."""

    path: str
    inference: bool
    headers: Mapping[str, str] = field(default_factory=dict)
    model: str | None = None
    stream: bool = False
    text: str = ""


@dataclass(slots=True)
class Entry:
    """A fault in the book. `lifted` is set when it is deleted; those who wait in it go on then."""

    id: int
    fault: Fault
    seen: int = 0
    struck: int = 0
    lifted: asyncio.Event = field(default_factory=asyncio.Event)

    def concerns(self, facts: Facts) -> bool:
        """Whether the request is one that the fault speaks of."""
        match = self.fault.match
        place = facts.inference or self.fault.kind in EVERYWHERE if match.path is None else facts.path == match.path
        return (
            place
            and match.model in (None, facts.model)
            and match.stream in (None, facts.stream)
            and (match.contains is None or match.contains in facts.text)
            and all(facts.headers.get(name) == value for name, value in match.headers.items())
        )


class FaultBook:
    """The faults in force, oldest first; the first that strikes a request is the one it gets."""

    def __init__(self, *, seed: int) -> None:
        self._seed = seed
        self._entries: dict[int, Entry] = {}
        self._next_id = 1

    def __bool__(self) -> bool:
        return bool(self._entries)

    def add(self, fault: Fault) -> Entry:
        """Put a fault in force."""
        entry = Entry(self._next_id, fault)
        self._entries[entry.id] = entry
        self._next_id += 1
        return entry

    def remove(self, fault_id: int) -> bool:
        """Delete a fault and release who waits in it; False when there is none of that id."""
        entry = self._entries.pop(fault_id, None)
        if entry is not None:
            entry.lifted.set()
        return entry is not None

    def clear(self) -> None:
        """Delete them all."""
        for fault_id in list(self._entries):
            self.remove(fault_id)

    def entries(self) -> list[dict[str, Any]]:
        """What is in force, as plain values."""
        return [
            {"id": entry.id, "seen": entry.seen, "struck": entry.struck, **msgspec.to_builtins(entry.fault)}
            for entry in self._entries.values()
        ]

    def take(self, facts: Facts) -> Entry | None:
        """The fault that strikes this request, counted as done."""
        for entry in self._entries.values():
            if not entry.fault.at_once and entry.concerns(facts) and self._strikes(entry):
                entry.struck += 1
                return entry
        return None

    def _strikes(self, entry: Entry) -> bool:
        entry.seen += 1
        fault = entry.fault
        if entry.seen <= fault.skip or (fault.times is not None and entry.struck >= fault.times):
            return False
        draw = hashlib.blake2b(f"{self._seed}/{entry.id}/{entry.seen}".encode(), digest_size=4).digest()
        return int.from_bytes(draw, "big") < fault.probability * 2**32


def read_fault(text: str) -> Fault:
    """A fault as the command line takes it: JSON, or `kind` or `kind:field=value,…`.

    Raises:
        ValueError: which field is wrong, and how.
    """
    try:
        if text.lstrip().startswith("{"):
            return msgspec.json.decode(text, type=Fault)
        kind, _, rest = text.partition(":")
        fields = dict(part.split("=", 1) for part in rest.split(",") if part)
        return msgspec.convert({"kind": kind, **fields}, Fault, strict=False)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ValueError(f"no fault: {text!r}: {error}") from error
