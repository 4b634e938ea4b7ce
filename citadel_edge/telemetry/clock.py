"""The clock. The one place that asks the machine what time it is; everything else is handed a `Clock`."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Clock:
    """Two times: one that only goes forward, for durations; one of the calendar, for records."""

    def monotonic_s(self) -> float:
        """Seconds since some fixed point; never steps back."""
        return time.monotonic()

    def unix_s(self) -> float:
        """Seconds since 1970-01-01 UTC; may step."""
        return time.time()  # noqa: TID251 - this is the clock

    def now(self) -> datetime:
        """The calendar time, aware, in UTC."""
        return datetime.now(UTC)  # noqa: TID251 - this is the clock
