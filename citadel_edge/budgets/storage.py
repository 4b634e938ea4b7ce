"""How much a listener keeps on disk: spool, log files, exports.

Decides when new work is refused because the disk share is full. Refuses to measure: whoever keeps files reports their
size, as an absolute figure under a name of its own, so that a report lost or repeated does no harm.
"""

from collections.abc import Callable
from typing import Final

from citadel_edge.config.shape import ListenerName
from citadel_edge.errors import Code, RequestError

_MB: Final = 2**20
_RETRY_AFTER_S: Final = 30.0


class StorageBudget:
    """The disk share of one listener."""

    def __init__(self, listener: ListenerName, limit_mb: int, *, on_shed: Callable[[], None]) -> None:
        self.limit_mb = limit_mb
        self._listener = listener
        self._on_shed = on_shed
        self._by_source: dict[str, int] = {}
        self._bytes = 0

    @property
    def bytes(self) -> int:
        """What all sources report together."""
        return self._bytes

    def report(self, source: str, n_bytes: int) -> None:
        """`source` keeps `n_bytes` on disk now."""
        self._bytes += n_bytes - self._by_source.get(source, 0)
        self._by_source[source] = n_bytes

    def resize(self, limit_mb: int) -> None:
        """Another limit from now on."""
        self.limit_mb = limit_mb

    def check_room(self) -> None:
        """Nothing while there is room; else RequestError OVERLOADED, naming the listener and who fills its share."""
        if self._bytes < self.limit_mb * _MB:
            return
        self._on_shed()
        raise RequestError(Code.OVERLOADED, self._explain(), retry_after_s=_RETRY_AFTER_S)

    def _explain(self) -> str:
        largest = max(self._by_source, key=lambda source: self._by_source[source])
        return (
            f"{self._listener} keeps {self._bytes / _MB:.1f} MB on disk and may keep {self.limit_mb} MB "
            f"(storage_mb), most of it {largest}; it takes no new work until that is carried off"
        )
