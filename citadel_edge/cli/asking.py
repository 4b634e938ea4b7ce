"""Asking the running process over its own door: where it is, with which key, and what its refusals mean here."""

import asyncio
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import msgspec

from citadel_edge.config.shape import Config, ListenerName
from citadel_edge.errors import ConfigError, Problem, StartError

KEY_VARIABLE: Final = "CITADEL_API_KEY"
CREDENTIALS: Final = "credentials.json"
PATIENCE_S: Final = 30.0
_OK: Final = 200
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what a door binds, not we


@dataclass(frozen=True, slots=True)
class Door:
    """A listener's address. `certificate`: the file of its own certificate, which is then the one to trust."""

    url: str
    certificate: str | None = None


def door_of(url: str | None, config: Config, listener: ListenerName = ListenerName.ROUTING) -> Door:
    """Where the listener is, by its flag or as it is configured.

    Raises:
        ConfigError: its port is a free one that only the process knows.
    """
    if url is not None:
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


def ask(door: Door, path: str, body: bytes, *, key: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """POST a JSON body; the answer's object.

    Raises:
        StartError: nobody answers there, or the process refuses, in its own words.
    """
    sent = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", **headers}
    try:
        status, answer = asyncio.run(_post(f"{door.url}{path}", body, headers=sent, trust=_trust(door)))
    except (aiohttp.ClientError, TimeoutError, ValueError, OSError) as error:
        words = str(error) or type(error).__name__
        raise StartError(f"{door.url} does not answer: {words}; is the edge running?") from error
    return _read(status, answer)


async def _post(
    url: str, body: bytes, *, headers: Mapping[str, str], trust: ssl.SSLContext | bool
) -> tuple[int, bytes]:
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.post(url, data=body, headers=headers, ssl=trust) as answer,
    ):
        return answer.status, await answer.read()


def _trust(door: Door) -> ssl.SSLContext | bool:
    """Our own door's certificate is trusted as it is, whatever name it bears: the file says whom we speak with."""
    if door.certificate is None:
        return True
    context = ssl.create_default_context(cafile=door.certificate)
    context.check_hostname = False
    return context


def _read(status: int, body: bytes) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise StartError(f"it answered {status} with something that is no JSON object") from error
    if status != _OK:
        raise StartError(f"{answer.get('code', status)}: {answer.get('detail', 'no reason was given')}")
    return answer
