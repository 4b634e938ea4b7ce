"""The metrics server, asked for history: the HTTP API of Prometheus, or of what speaks it.

Decides how long a question may take, how many points and bytes its answer may have, and what is the questioner's fault
and what the server's. Refuses to know what is asked for, and who may ask.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Self

import aiohttp
import msgspec

from citadel_edge.errors import Code, MetricsServerUnavailable, RequestError

WITHIN_S: Final = 10.0
MOST_POINTS: Final = 11_000
"""Of one series: Prometheus itself refuses more."""
MOST_BYTES: Final = 4 * 2**20
MOST_CHARS: Final = 4096
_SHORTEST_STEP_S: Final = 0.001
_LONGEST_STEP_S: Final = 100 * 365.25 * 86_400
"""Prometheus takes at most 292 years: so many nanoseconds fit into 64 bits."""
_READ_BYTES: Final = 2**16
_AT_A_TIME: Final = 2000
_MESSAGE_CHARS: Final = 500
_OK: Final = 200
_NOT_THEIRS: Final = frozenset({400, 422})
"""What Prometheus answers to a query that it cannot read, or cannot carry out."""
_LATE: Final = frozenset({"timeout", "canceled"})


class Kind(StrEnum):
    """What a query comes to: series with one sample each, or with many; one number; a text."""

    VECTOR = "vector"
    MATRIX = "matrix"
    SCALAR = "scalar"
    STRING = "string"


@dataclass(frozen=True, slots=True)
class Series:
    """Labels (`__name__` among them), and samples in the order of time: seconds since 1970, value (NaN, infinity too).

    Native histograms are no numbers: a series of them has no samples.
    """

    labels: Mapping[str, str]
    samples: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """An answer. A scalar is one series without labels and with one sample; a string has none, but `text`."""

    kind: Kind
    series: tuple[Series, ...] = ()
    text: str | None = None
    warnings: tuple[str, ...] = ()


class _Series(msgspec.Struct):
    metric: dict[str, str] = {}
    value: tuple[float, str] | None = None
    values: list[tuple[float, str]] = []


class _Data(msgspec.Struct, rename="camel"):
    result_type: Kind
    result: msgspec.Raw


class _Answer(msgspec.Struct, rename="camel"):
    status: str
    data: _Data | None = None
    error_type: str = ""
    error: str = ""
    warnings: list[str] = []


_answers: Final = msgspec.json.Decoder(_Answer)
_series: Final = msgspec.json.Decoder(list[_Series])
_single: Final = msgspec.json.Decoder(tuple[float, str])


class MetricsServer:
    """One server, or none. Make it with `open`."""

    def __init__(self, url: str | None, session: aiohttp.ClientSession) -> None:
        self._url = None if url is None else url.rstrip("/")
        self._session = session

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str | None) -> AsyncIterator[Self]:
        """Never fails because of the server. Without a URL every question is refused."""
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(
            timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
        ) as session:
            yield cls(url, session)

    async def instant(self, query: str, *, at: datetime | None = None) -> Readings:
        """What a query comes to at one time, by default now.

        Raises:
            RequestError: the query is wrong, in the server's own words, or its answer too large.
            MetricsServerUnavailable: there is no server, or it does not answer in time.
        """
        return await self._ask("query", query, {} if at is None else {"time": repr(at.timestamp())})

    async def range(self, query: str, *, since: datetime, until: datetime, step_s: float) -> Readings:
        """What it comes to from `since` to `until`, both included, every `step_s` seconds: whole milliseconds count.

        Raises:
            As `instant`.
        """
        if not _SHORTEST_STEP_S <= step_s <= _LONGEST_STEP_S:
            raise _wrong("Expected a step of a millisecond to a hundred years.", "step")
        if since > until:
            raise _wrong("Expected a beginning before the end.", "range")
        step_ms = int(step_s * 1000)
        if (until - since) // timedelta(milliseconds=step_ms) + 1 > MOST_POINTS:
            raise _wrong(f"Expected at most {MOST_POINTS} points: ask for a longer step or a shorter range.", "step")
        ends = {"start": repr(since.timestamp()), "end": repr(until.timestamp()), "step": repr(step_ms / 1000)}
        return await self._ask("query_range", query, ends)

    async def _ask(self, path: str, query: str, options: dict[str, str]) -> Readings:
        if self._url is None:
            raise MetricsServerUnavailable("no metrics server is configured: set metrics_server.url")
        if not query.strip() or len(query) > MOST_CHARS:
            raise _wrong(f"Expected a query of 1 to {MOST_CHARS} characters.", "query")
        form = {"query": query, "timeout": f"{WITHIN_S:g}s", **options}
        try:
            async with (
                asyncio.timeout(WITHIN_S),
                self._session.post(f"{self._url}/api/v1/{path}", data=form, allow_redirects=False) as response,
            ):
                body, status = await _read(response), response.status
        except TimeoutError:
            raise MetricsServerUnavailable(f"the metrics server did not answer within {WITHIN_S:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise MetricsServerUnavailable(f"the metrics server is away ({type(error).__name__})") from error
        return await _readings(_judged(status, body))


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(_READ_BYTES):
        body += chunk
        if len(body) > MOST_BYTES:
            raise _wrong("The answer is too large: ask for fewer series, a longer step or a shorter range.", "query")
    return bytes(body)


def _judged(status: int, body: bytes) -> _Answer:
    """The answer, if it is one of success."""
    try:
        answer = _answers.decode(body)
    except msgspec.MsgspecError as error:
        raise MetricsServerUnavailable(f"the metrics server answers {status}, and not as Prometheus does") from error
    if status in _NOT_THEIRS and answer.error_type not in _LATE:
        raise _wrong(answer.error[:_MESSAGE_CHARS], "query")
    if status != _OK or answer.data is None:
        raise MetricsServerUnavailable(f"the metrics server answers {status}: {answer.error[:_MESSAGE_CHARS]}")
    return answer


async def _readings(answer: _Answer) -> Readings:
    """Values from text; others on the loop have a turn now and then."""
    data, warnings = answer.data, tuple(answer.warnings)
    if data is None:
        raise MetricsServerUnavailable("the metrics server answers without data")
    try:
        return await _decoded(data, warnings)
    except (msgspec.MsgspecError, ValueError) as error:
        raise MetricsServerUnavailable("the metrics server does not answer as Prometheus does") from error


async def _decoded(data: _Data, warnings: tuple[str, ...]) -> Readings:
    if data.result_type is Kind.STRING:
        return Readings(kind=Kind.STRING, text=_single.decode(data.result)[1], warnings=warnings)
    if data.result_type is Kind.SCALAR:
        at, value = _single.decode(data.result)
        return Readings(kind=Kind.SCALAR, series=(Series({}, ((at, float(value)),)),), warnings=warnings)
    found, since_pause = [], 0
    for each in _series.decode(data.result):
        pairs = each.values if each.value is None else [each.value]
        found.append(Series(each.metric, tuple((at, float(value)) for at, value in pairs)))
        since_pause += 1 + len(pairs)
        if since_pause >= _AT_A_TIME:
            since_pause = 0
            await asyncio.sleep(0)
    return Readings(kind=data.result_type, series=tuple(found), warnings=warnings)


def _wrong(message: str, param: str) -> RequestError:
    return RequestError(Code.INVALID_REQUEST, message, param=param)
