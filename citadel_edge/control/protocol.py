"""What travels on the control socket: JSON lines, one request a line, one answer a line.

::

    → {"command": "listener.stop", "name": "graphql-api"}
    ← {"name": "graphql-api", "state": "stopped"}
    → {"command": "listener.attach", "name": "graphql-api"}
    ← {"line": "…"}                                          once a log line, until either side leaves
    ← {"error": "…", "problems": ["…"]}                      instead of an answer

Decides the commands, the bounds and the words of a refusal; refuses to know what a command does.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from citadel_edge.config.shape import ListenerName
from citadel_edge.errors import CitadelError, ConfigError

MAX_LINE_BYTES = 64 * 1024
FILE_NAME = "control.sock"


class ControlError(CitadelError):
    """A command was refused or could not be asked; the message says what to do."""


class NotRunning(ControlError):
    """Nothing listens on the control socket."""


class Command(StrEnum):
    """What can be asked."""

    STATUS = "status"
    RELOAD = "reload"
    START = "listener.start"
    STOP = "listener.stop"
    LISTENER_STATUS = "listener.status"
    ATTACH = "listener.attach"

    @property
    def names_a_listener(self) -> bool:
        """Whether the command needs a `name`."""
        return self.value.startswith("listener.")


class Request(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line from the client."""

    command: Command
    name: ListenerName | None = None


def decode_request(line: bytes) -> Request:
    """Read one line.

    Raises:
        ControlError: it is no JSON object, or names an unknown command or listener.
    """
    try:
        request = msgspec.json.decode(line, type=Request)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ControlError(
            f"not understood: {error}; commands: {_listed(Command)}; names: {_listed(ListenerName)}"
        ) from error
    if request.command.names_a_listener and request.name is None:
        raise ControlError(f"{request.command} needs a name: {_listed(ListenerName)}")
    return request


def decode_answer(line: bytes) -> dict[str, Any]:
    """Read one line from the process.

    Raises:
        ControlError: the process refused, in its own words, or said something else than a JSON object.
    """
    try:
        answer = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ControlError(f"the process answered something else than a JSON object: {error}") from error
    if "error" in answer:
        raise ControlError("\n".join([str(answer["error"]), *map(str, answer.get("problems", ()))]))
    return answer


def encode(message: Request | Mapping[str, Any]) -> bytes:
    """One line, its end included. Unknown types are told by their text."""
    return msgspec.json.encode(message, enc_hook=str) + b"\n"


def refusal(error: CitadelError) -> dict[str, Any]:
    """The answer that tells an error."""
    if isinstance(error, ConfigError):
        return {
            "error": "the configuration is invalid; nothing was changed",
            "problems": [str(p) for p in error.problems],
        }
    return {"error": str(error)}


def _listed(names: type[StrEnum]) -> str:
    return ", ".join(names)
