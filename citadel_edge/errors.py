"""One tree of errors. Raised low, mapped once at the door.

::

    CitadelError
    ├── ConfigError            the configuration is wrong: exit code 2, nothing started
    ├── StartError             a part of the process cannot be started: exit code 1
    ├── DependencyError        a database is away or too slow
    │   ├── RedisUnavailable
    │   ├── PostgresUnavailable
    │   └── MetricsServerUnavailable
    ├── UpstreamError          a model server failed, with the phase in which it did
    └── RequestError           an answer to a client: code, status, message, remedy

Refuses to know how an error looks on the wire: problem details and OpenAI's shape are made at the doors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum


class CitadelError(Exception):
    """The root: everything this package raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a configuration: where, and what to do about it."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class ConfigError(CitadelError):
    """Every mistake of a configuration at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class StartError(CitadelError):
    """A part of the process cannot be started; the message says what to do."""


class DependencyError(CitadelError):
    """A dependency did not answer in time or refused."""

    dependency = "dependency"


class RedisUnavailable(DependencyError):
    """Redis is away, frozen or refusing."""

    dependency = "redis"


class PostgresUnavailable(DependencyError):
    """PostgreSQL is away, frozen or refusing."""

    dependency = "postgres"


class MetricsServerUnavailable(DependencyError):
    """The metrics server is away, too slow, or not configured; the message says which."""

    dependency = "metrics_server"


class UpstreamFault(StrEnum):
    """The phase in which an upstream failed. LOST: its probes fail while it owes an answer."""

    REFUSED = "refused"
    CONNECT_TIMEOUT = "connect_timeout"
    FIRST_TOKEN_TIMEOUT = "first_token_timeout"  # noqa: S105 - a phase, no password
    IDLE_TIMEOUT = "idle_timeout"
    TOTAL_TIMEOUT = "total_timeout"
    RESET = "reset"
    TRUNCATED = "truncated"
    STATUS = "status"
    BUSY = "busy"
    MALFORMED = "malformed"
    LOST = "lost"


class UpstreamError(CitadelError):
    """A model server failed a request.

    Attributes:
        fault: the phase.
        status: the HTTP status it answered, if it answered.
        body: the start of its answer's body (at most 64 KiB), for passing a 4xx on.
        retry_after_s: what it asked for, in seconds.
    """

    def __init__(
        self,
        fault: UpstreamFault,
        message: str,
        *,
        status: int | None = None,
        body: bytes = b"",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.fault = fault
        self.status = status
        self.body = body
        self.retry_after_s = retry_after_s


class Code(Enum):
    """The public error codes, each with its HTTP status."""

    INVALID_REQUEST = ("invalid_request", 400)
    CONTEXT_LENGTH_EXCEEDED = ("context_length_exceeded", 400)
    REQUEST_TOO_LARGE = ("request_too_large", 400)
    INVALID_API_KEY = ("invalid_api_key", 401)
    FORBIDDEN = ("forbidden", 403)
    MODEL_NOT_ALLOWED = ("model_not_allowed", 403)
    SUSPENDED = ("suspended", 403)
    MODEL_NOT_FOUND = ("model_not_found", 404)
    NOT_FOUND = ("not_found", 404)
    METHOD_NOT_ALLOWED = ("method_not_allowed", 405)
    REQUEST_TIMEOUT = ("request_timeout", 408)
    CONFLICT = ("conflict", 409)
    STALE = ("stale", 412)
    BODY_TOO_LARGE = ("request_too_large", 413)
    UNSUPPORTED_MEDIA_TYPE = ("unsupported_media_type", 415)
    IDEMPOTENCY_MISMATCH = ("idempotency_mismatch", 422)
    RATE_LIMIT_EXCEEDED = ("rate_limit_exceeded", 429)
    INSUFFICIENT_QUOTA = ("insufficient_quota", 429)
    HEADERS_TOO_LARGE = ("headers_too_large", 431)
    INTERNAL = ("internal", 500)
    UPSTREAM_ERROR = ("upstream_error", 502)
    NO_CAPACITY = ("no_capacity", 503)
    OVERLOADED = ("overloaded", 503)
    LISTENER_STOPPED = ("listener_stopped", 503)
    ACCOUNTS_UNAVAILABLE = ("accounts_unavailable", 503)
    DEADLINE_EXCEEDED = ("deadline_exceeded", 504)

    def __init__(self, text: str, status: int) -> None:
        self.text = text
        self.status = status


class RequestError(CitadelError):
    """What a client is told.

    Attributes:
        code: stable code with its status.
        param: the field at fault, in the body's own spelling.
        retry_after_s: seconds after which a repeat makes sense.
        headers: further headers of the answer.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.headers = dict(headers or {})
