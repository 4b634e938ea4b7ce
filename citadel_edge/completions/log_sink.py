"""The pipeline's client where an answer goes to a stream's log: whole events in, payloads out.

Decides what of the pipeline's bytes is an event of the answer: heartbeats are not, and neither is how it ends, which
its report says. An answer that is none, because the engine refused the request, is kept for whoever asked. Refuses to
know who reads the log, and what the end looks like there.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from citadel_edge.errors import CitadelError
from citadel_edge.streams.live import Live
from citadel_edge.wire.openai import first_choices
from citadel_edge.wire.sse import PING

_OK: Final = 200
_FRAME: Final = b"data: "
_BETWEEN: Final = b"\n\ndata: "
_DONE: Final = b"[DONE]"
_ERROR: Final = b'{"error":{'
_FINISH: Final = b'"finish_reason"'
_UNFINISHED: Final = b'"finish_reason":null'


class Refused(CitadelError):
    """The engine refused the request: its client gets the answer as it is."""

    def __init__(self, status: int, content_type: str, headers: Mapping[str, str]) -> None:
        super().__init__(f"the engine refused the request with status {status}")
        self.status = status
        self.content_type = content_type
        self.headers = dict(headers)
        self.body = b""

    @property
    def error(self) -> dict[str, Any]:
        """OpenAI's error object in its body."""
        found: dict[str, Any] = msgspec.json.decode(self.body)["error"]
        return found


class LogSink:
    """One answer's way into its log.

    Args:
        live: the log's end.
        on_begin: told the headers, once, when the answer has begun.
        on_finish: told when the pipeline has written its last byte.

    Attributes:
        whole: the answer has come to its proper end.
        refused: the engine's own answer, if it refused the request.
        error: OpenAI's error object, if the stream ended with one.
        finish_reason: why the model stopped, once its first choice said so.
    """

    def __init__(
        self, live: Live, *, on_begin: Callable[[Mapping[str, str]], None], on_finish: Callable[[], None]
    ) -> None:
        self._live = live
        self._on_begin = on_begin
        self._on_finish = on_finish
        self.whole = False
        self.refused: Refused | None = None
        self.error: dict[str, Any] | None = None
        self.finish_reason: str | None = None

    async def begin(self, status: int, content_type: str, headers: Mapping[str, str]) -> None:
        """A stream begins, or a refusal is on its way."""
        if status == _OK:
            self._on_begin(headers)
        else:
            self.refused = Refused(status, content_type, headers)

    async def write(self, data: bytes) -> None:
        """Log the events; waits only while very much of them is on its way."""
        if self.refused is not None:
            self.refused.body += data
            return
        if data == PING:
            return
        live, payloads = self._live, data[len(_FRAME) : -2].split(_BETWEEN)
        if payloads[-1] == _DONE:
            self.whole = True
            payloads.pop()
        elif payloads[-1].startswith(_ERROR):
            self.error = msgspec.json.decode(payloads.pop())["error"]
        if payloads:
            live.extend(payloads)
            self._hear(payloads)
        if live.crowded:
            await live.room()

    def _hear(self, payloads: list[bytes]) -> None:
        """Only what may say why the model stopped is decoded: hardly any."""
        ending = (payload for payload in payloads if _FINISH in payload and _UNFINISHED not in payload)
        for choice in first_choices(ending):
            if isinstance(choice.finish_reason, str):
                self.finish_reason = choice.finish_reason

    async def finish(self) -> None:
        """It is over."""
        self._on_finish()
