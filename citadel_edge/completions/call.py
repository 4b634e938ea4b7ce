"""What goes into the main job and what comes out: a call, a sink for its bytes, a report. Values and one protocol."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID

from msgspec import Struct

from citadel_edge.accounts.ledger.event import Outcome
from citadel_edge.accounts.principal import Principal
from citadel_edge.completions.relay import Relay
from citadel_edge.completions.request import CompletionRequest
from citadel_edge.config.shape import ListenerName, Objective
from citadel_edge.errors import CitadelError, UpstreamError


class Spawn(Protocol):
    """Starts a task in a group, counted to whoever's budget it is. `Budget.spawn` is one."""

    def __call__(self, group: asyncio.TaskGroup, coro: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """The running task."""


def spawn_uncounted(group: asyncio.TaskGroup, coro: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
    """A task that counts to nobody."""
    return group.create_task(coro, name=name)


def hold_uncounted(_n_bytes: int) -> None:
    """Bytes that count to nobody."""


class ClientGone(ConnectionError):
    """The client has left, or takes nothing any more: there is nobody to answer."""


class Sink(Protocol):
    """Where an answer goes. Awaiting it is the back-pressure. `ClientGone` says that there is nobody to write to."""

    async def begin(self, status: int, content_type: str, headers: Mapping[str, str]) -> None:
        """Status and headers; once, first."""

    async def write(self, data: bytes) -> None:
        """Bytes of the body."""

    async def finish(self) -> None:
        """The body is complete."""


class Tenure(Protocol):
    """Whose an answer is. What another process has taken over is not ours to record or to charge any more."""

    @property
    def lost(self) -> bool:
        """Whether it is another's, as far as is known at once."""

    async def confirm(self) -> None:
        """Ask before its end is recorded. `ClientGone`: it is another's."""


class Earlier(Struct, frozen=True, kw_only=True):
    """What is known of a request that another process began and did not end.

    Attributes:
        age_s: how long ago it came.
        model, upstream: who was asked, as far as is known.
        said: the answer that was logged; None when there is none yet.
        first_s: after how many seconds it began.
        broken_by: how it broke off.
        reservations: ids of what it had of its caller's limits.
        ended: it does not go on, for this reason.
    """

    age_s: float
    model: str
    upstream: str
    said: Relay | None
    broken_by: UpstreamError
    first_s: float | None = None
    reservations: tuple[str, ...] = ()
    ended: CitadelError | None = None

    @property
    def finish_reason(self) -> str | None:
        """Why the model stopped, if that was logged."""
        return None if self.said is None else self.said.finish_reason


class Report(Struct, frozen=True, kw_only=True):
    """How a request ended: what its canonical log line needs.

    Attributes:
        upstream: the replica of the last attempt, if one was made.
        decision_id: None where no decision is kept: no model was found, or a limit refused the request.
        ttft_ms: milliseconds to the first token of a stream, if one came.
        duration_ms: to the end of the work, just before the answer's last byte is sent.
        status: the HTTP status that the client was or will be answered with; None when it left before.
        code: the error's stable code, if it ended with one.
    """

    request_id: str
    user_id: str
    tier: str
    model: str
    upstream: str | None
    decision_id: str | None
    attempts: int
    tokens_in: int
    tokens_out: int
    ttft_ms: float | None
    duration_ms: float
    cost_usd: Decimal
    outcome: Outcome
    status: int | None
    code: str | None

    def facts(self) -> dict[str, Any]:
        """The report's part of the canonical line."""
        return {
            "user": self.user_id,
            "tier": self.tier,
            "model": self.model,
            "upstream": self.upstream,
            "decision": self.decision_id,
            "attempts": self.attempts,
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "ttft_ms": None if self.ttft_ms is None else round(self.ttft_ms, 3),
            "work_ms": round(self.duration_ms, 3),
            "cost_usd": float(self.cost_usd),
            "outcome": self.outcome.value,
            "code": self.code,
        }


class Call(Struct, frozen=True, kw_only=True):
    """One request of an authenticated caller, admitted by its listener's budget.

    Attributes:
        endpoint: the door's path, for the ledger.
        traceparent: already the child to pass on.
        deadline_s: seconds that the client gave the whole, from now.
        optimize: what the client wants a model chosen for.
        session: the name under which it wants the same replica again.
        spawn: how further tasks of this request are started.
        hold: told how many bytes more of a whole answer lie in memory, before they are passed on; raises RequestError
            OVERLOADED when that is too much. Whoever gave it lets them go when the request is over.
        on_end: told once how it ended, whichever way it did, also when `run` raises or is cancelled.
        id: under which it is recorded; one is made where none is given.
        on_reserved: told the id of each thing it takes of its caller's limits.
        on_admitted: told when they let it pass.
        on_moved: told the headers as they are now when a call's part of an answer begins after the status was sent.
        tenure: whose its answer is; always ours where nobody says otherwise.
        earlier: it goes on with what another process began.
    """

    request: CompletionRequest
    principal: Principal
    listener: ListenerName
    endpoint: str
    request_id: str
    traceparent: str
    deadline_s: float | None = None
    optimize: Objective | None = None
    session: str | None = None
    spawn: Spawn = spawn_uncounted
    hold: Callable[[int], None] = hold_uncounted
    on_end: Callable[[Report], None] | None = None
    id: UUID | None = None
    on_reserved: Callable[[str], None] | None = None
    on_admitted: Callable[[], None] | None = None
    on_moved: Callable[[Mapping[str, str]], None] | None = None
    tenure: Tenure | None = None
    earlier: Earlier | None = None
