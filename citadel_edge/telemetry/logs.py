"""The process's log: one object that makes loggers, and that can be told to do it differently while it runs.

Decides where lines go: all to the stream (journald, a terminal), and to one file a listener where a directory is set;
to onlookers too. JSON, unless a person sits at the stream. Refuses to know what is logged, and sets nothing globally:
two `Logs` in one process do not disturb each other.
"""

import sys
from types import TracebackType
from typing import Any, Self, TextIO, cast

import structlog
from structlog.typing import FilteringBoundLogger

from citadel_edge.config.shape import ListenerName, LogsConfig
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.console import open_console
from citadel_edge.telemetry.lines import Lines, Pretty
from citadel_edge.telemetry.log_files import LogFiles
from citadel_edge.telemetry.stdlib_bridge import Bridge
from citadel_edge.telemetry.taps import Tap, Taps


class Logs:
    """All logging of a process. Open it first, close it last; or use it as a context manager."""

    def __init__(self, config: LogsConfig, *, stream: TextIO, clock: Clock) -> None:
        self._clock = clock
        self._stream = stream
        self._console = open_console(stream)
        self._lines = Lines(clock)
        self._taps = Taps()
        self._output = _Output(self)
        self._logger_class = type("EdgeLogger", (structlog.make_filtering_bound_logger(config.level),), {})
        self._pretty: Pretty | None = None
        self._files: LogFiles | None = None
        self._lost_before = 0
        self._apply(config)
        self._bridge = Bridge(self.logger())
        self._bridge.open()

    @classmethod
    def open(cls, config: LogsConfig, *, stream: TextIO | None = None, clock: Clock | None = None) -> Self:
        """Begin to log, to standard error unless another stream is given."""
        return cls(config, stream=stream or sys.stderr, clock=clock or Clock())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def logger(self, listener: str | None = None, **bound: Any) -> FilteringBoundLogger:
        """A logger whose lines carry these fields; with a listener, they go to that listener's file as well."""
        context = bound if listener is None else {"listener": str(listener), **bound}
        return cast("FilteringBoundLogger", self._logger_class(self._output, [self._lines.render], context))

    def tap(self, listener: str | None = None, *, size: int = 1000) -> Tap:
        """Look on: an async context manager that gives an async iterator of lines; of one listener, or of all."""
        return Tap(self._taps, None if listener is None else str(listener), size=size)

    def reconfigure(self, config: LogsConfig) -> None:
        """Another level, form or directory from now on, for loggers that exist already too."""
        self._logger_class.__bases__ = (structlog.make_filtering_bound_logger(config.level),)
        self._apply(config)

    def reopen(self) -> None:
        """Open the files anew, as after a rotation."""
        if self._files:
            self._files.reopen()

    def bytes_on_disk(self) -> dict[ListenerName, int]:
        """How large each listener's log file is, for its storage budget."""
        return self._files.sizes() if self._files else {}

    @property
    def lost(self) -> int:
        """Lines that could not be written since the start: slow stream, full disk."""
        return self._lost_before + self._console.lost + (self._files.lost() if self._files else 0)

    def close(self) -> None:
        """Hear no more of libraries, end the onlookers' lines, write out what waits (at most a second)."""
        self._bridge.close()
        self._taps.close()
        self._console.close()
        self._replace_files(None)

    def write(self, line: bytes, listener: str | None) -> None:
        """One finished line to everywhere it belongs."""
        self._console.write(self._pretty(line) if self._pretty else line)
        if self._files:
            self._files.write(line, listener)
        if self._taps:
            self._taps.offer(line, listener)

    def _apply(self, config: LogsConfig) -> None:
        person = config.format == "pretty" or (config.format == "auto" and self._stream.isatty())
        self._pretty = Pretty(colors=self._stream.isatty()) if person else None
        if (self._files.directory if self._files else None) != config.directory:
            self._replace_files(LogFiles(config.directory, self._clock, self._report) if config.directory else None)

    def _replace_files(self, files: LogFiles | None) -> None:
        before, self._files = self._files, files
        if before:
            before.close()
            self._lost_before += before.lost()

    def _report(self, event: str, fields: dict[str, object]) -> None:
        """About the files themselves: to the stream alone."""
        (line, _), _ = self._lines.render(None, "warning", {"event": event, **fields})
        self._console.write(self._pretty(line) if self._pretty else line)


class _Output:
    """What structlog calls with the finished line, by the name of the level."""

    def __init__(self, logs: Logs) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = logs.write
