"""What the product must know of an engine to call it and to understand its refusals. Values; a dialect a file."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from citadel_edge.config.shape import Engine
from citadel_edge.fleet.engines.facts import Facts, read_models
from citadel_edge.fleet.gauges import Reading

BUSY_STATUSES = frozenset({429, 503})
DEFAULT_SLOTS = 64


@dataclass(frozen=True, slots=True)
class LoadPage:
    """Where an engine shows its load, and how that is read: None when it is not there.

    `disturbs`: being looked at counts as work there (llama.cpp's idle timer): ask only while it has work anyway.
    """

    path: str
    read: Callable[[bytes], Reading | None]
    disturbs: bool = False


@dataclass(frozen=True, slots=True)
class FactPage:
    """Where an engine tells what seldom changes."""

    path: str
    read: Callable[[bytes], Facts]


MODELS_PAGE = FactPage("/v1/models", read_models)


class Resumes(Enum):
    """How an engine is made to go on with a started answer of a chat.

    FLAGS: the started answer as a last message, with `continue_final_message` and without a generation prompt.
    TRAILING: a last message of the assistant is a started answer. UNSURE: it may be, by the model's template; what
    comes must show it. NEVER: it is history, and another answer begins.
    """

    FLAGS = auto()
    TRAILING = auto()
    UNSURE = auto()
    NEVER = auto()


class UsageAlong(Enum):
    """Whether a stream's chunks can bear the usage so far, and how they look without it.

    NEVER: they cannot. ABSENT: there is no such field. NULL: it is null. TIMINGS: it is in llama.cpp's own `timings`,
    which are absent otherwise.
    """

    NEVER = auto()
    ABSENT = auto()
    NULL = auto()
    TIMINGS = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One engine's habits.

    Attributes:
        probe_path: the cheapest question that says whether it would serve; never one that generates.
        busy: statuses that mean "full, come back": backpressure, never a fault.
        own_faults: statuses below 500 by which it reports a failure of its own.
        resumes: how it goes on with a started answer of a chat.
        resumes_raw: the same of a legacy completion, whose started answer is the end of its prompt.
        keeps_end: white space at the end of a chat's started answer is read as it stands, whatever the template.
        usage_along: whether an option of the request gives exact counts in mid-stream.
        raw_max_tokens: what bounds a legacy completion that names no `max_tokens`.
        slots: requests it serves at once when nobody says otherwise.
        load: where it shows its load, if it does.
        facts: where it tells the rest.
    """

    engine: Engine
    probe_path: str
    busy: frozenset[int] = BUSY_STATUSES
    own_faults: frozenset[int] = frozenset()
    resumes: Resumes = Resumes.NEVER
    resumes_raw: Resumes = Resumes.TRAILING
    keeps_end: bool = True
    usage_along: UsageAlong = UsageAlong.NEVER
    raw_max_tokens: int | None = None
    slots: int = DEFAULT_SLOTS
    load: LoadPage | None = None
    facts: tuple[FactPage, ...] = (MODELS_PAGE,)
