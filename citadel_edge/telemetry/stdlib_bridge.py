"""What libraries say through the standard library's logging (aiohttp, asyncio, redis), in our lines.

Decides only how a record becomes a line. The root logger gets one handler more and loses it again at `close`; its level
and its other handlers stay as they are, so libraries are heard from `warning` upwards unless someone says otherwise.
"""

import logging

from structlog.typing import FilteringBoundLogger


class Bridge(logging.Handler):
    """A handler on the root logger that hands records to a logger of ours."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        super().__init__()
        self._log = log

    def open(self) -> None:
        """Listen."""
        logging.getLogger().addHandler(self)

    def close(self) -> None:
        """Stop listening."""
        logging.getLogger().removeHandler(self)
        super().close()

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record, with the name of the logger it came by."""
        fields = {"exc_info": record.exc_info} if record.exc_info else {}
        try:
            self._log.log(_level(record.levelno), record.getMessage(), logger=record.name, **fields)
        except Exception as error:  # the library's arguments do not fit its own text: say what there is
            self._log.error("unreadable log record", logger=record.name, text=record.msg, error=repr(error))


def _level(number: int) -> int:
    """The nearest of the five levels, downwards."""
    return max(logging.DEBUG, min(logging.CRITICAL, number // 10 * 10))
