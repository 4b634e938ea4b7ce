"""Asking the running process over its own door: where it is, with which key, and what its refusals mean here.

Decides when a question is repeated: once, when whoever asks allows it and the connection broke in the middle. Refuses
to know what is asked.
"""

import asyncio
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
import msgspec

from citadel_edge.config.shape import Config, ListenerName
from citadel_edge.errors import CitadelError, ConfigError, Problem, StartError

KEY_VARIABLE: Final = "CITADEL_API_KEY"
CREDENTIALS: Final = "credentials.json"
PATIENCE_S: Final = 30.0
"""For a connection, and for each further part of an answer: a long one may take longer as a whole."""
_REFUSED: Final = 300
_FAULT: Final = 500
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what a door binds, not we
_BROKEN: Final = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientPayloadError)


class Refused(CitadelError):
    """The process answered, and refused, in its own words. `code` is its stable code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Door:
    """A listener's address. `certificate`: the file of its own certificate, which is then the one to trust."""

    url: str
    certificate: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request. `query`: parameters, of which those that are None are left out. `body`: JSON, or None without one.

    `attempts`: 2 where a repeat does no harm.
    """

    path: str
    method: str = "GET"
    query: Mapping[str, object] = field(default_factory=dict)
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    attempts: int = 1

    def url(self, door: Door) -> str:
        """Where it goes."""
        query = urlencode({name: value for name, value in self.query.items() if value is not None})
        return f"{door.url}{self.path}{'?' if query else ''}{query}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the process said. `etag`: the version of the resource, for `If-Match`."""

    body: bytes
    etag: str | None

    def read(self) -> dict[str, Any]:
        """Its JSON object. Raises `StartError` when it is none."""
        return _object(self.body)


def door_of(url: str | None, config: Config, listener: ListenerName = ListenerName.ROUTING) -> Door:
    """Where the listener is, by its flag or as it is configured.

    Raises:
        ConfigError: the flag is no URL, or the port is a free one that only the process knows.
    """
    if url is not None:
        if not url.startswith(("http://", "https://")):
            raise ConfigError([Problem("--url", f"expected an http(s) URL, got {url!r}")])
        return Door(url.rstrip("/"))
    bound = config.listeners[listener]
    if bound.port == 0:
        path = f"listeners.{listener.value}.port"
        raise ConfigError([Problem(path, "it is a free one; name the address with --url")])
    host = _EVERYWHERE.get(config.bind_host(listener), config.bind_host(listener))
    host = f"[{host}]" if ":" in host else host
    if bound.tls is None:
        return Door(f"http://{host}:{bound.port}")
    return Door(f"https://{host}:{bound.port}", str(bound.tls.cert))


def key_of(flag: str | None, config: Config) -> str:
    """The key to ask with: the flag's, the environment's, or the admin key that a first start left.

    Raises:
        StartError: there is none.
    """
    if found := flag or os.environ.get(KEY_VARIABLE):
        return found
    path = config.data_dir / CREDENTIALS
    try:
        return str(msgspec.json.decode(path.read_bytes())["admin_key"])
    except (OSError, msgspec.DecodeError, KeyError, TypeError) as error:
        raise StartError(f"no API key: give --key or {KEY_VARIABLE} ({path} has none)") from error


def ask(door: Door, question: Question, *, key: str) -> Answer:
    """Ask, and answer what the process said.

    Raises:
        StartError: nobody answers there, or not to the end; then a change may have been made.
        Refused: the process refuses.
    """
    try:
        return asyncio.run(_exchange(door, question, key))
    except (aiohttp.ClientError, TimeoutError, ValueError, OSError) as error:
        if question.attempts == 1 or not _broke(error):
            raise StartError(_silence(door, question, error)) from error
    return ask(door, replace(question, attempts=question.attempts - 1), key=key)


async def _exchange(door: Door, question: Question, key: str) -> Answer:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", **question.headers}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=PATIENCE_S, sock_read=PATIENCE_S)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.request(
            question.method, question.url(door), data=question.body, headers=headers, ssl=_trust(door)
        ) as answer,
    ):
        body = await answer.read()
    if answer.status >= _REFUSED:
        raise _refusal(answer.status, body)
    return Answer(body, answer.headers.get("ETag"))


def _trust(door: Door) -> ssl.SSLContext | bool:
    """Our own door's certificate is trusted as it is, whatever name it bears: the file says whom we speak with."""
    if door.certificate is None:
        return True
    context = ssl.create_default_context(cafile=door.certificate)
    context.check_hostname = False
    return context


def _broke(error: Exception) -> bool:
    """Whether somebody was there and the connection broke: the request may have arrived."""
    return isinstance(error, _BROKEN) and not isinstance(error, aiohttp.ClientConnectorError)


def _silence(door: Door, question: Question, error: Exception) -> str:
    words = str(error) or type(error).__name__
    unsure = question.method != "GET" and (_broke(error) or isinstance(error, TimeoutError))
    advice = "the change may have been made: look before you repeat it" if unsure else "is the edge running?"
    return f"{door.url} does not answer: {words}; {advice}"


def _refusal(status: int, body: bytes) -> Refused:
    """The code and the words of problem details, with the field at fault; of a fault also the request to report."""
    answer = _object(body, status)
    words = str(answer.get("detail", "no reason was given"))
    named = [str(answer["param"])] if answer.get("param") else []
    if status >= _FAULT and answer.get("request_id"):
        named.append(f"request {answer['request_id']}")
    return Refused(str(answer.get("code", status)), f"{words} ({', '.join(named)})" if named else words)


def _object(body: bytes, status: int = 200) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise StartError(f"it answered {status} with something that is no JSON object") from error
