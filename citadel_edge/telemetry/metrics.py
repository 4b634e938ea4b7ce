"""One registry of metrics a listener, and how they are written down.

Decides which registry holds what: a family lives on its owner's port alone, process-wide ones (process, garbage
collector, build, loop lag) on `routing-api`. Refuses to know the families of other rooms.

Rendering is slow (13 ms for 2,000 series) and therefore done in a thread: a collector of one's own, or a function
given to a gauge, is called there and must only read.
"""

import asyncio
import platform
from typing import Final

from prometheus_client import CollectorRegistry, Info, disable_created_metrics
from prometheus_client.exposition import choose_encoder
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

from citadel_edge.config.shape import ListenerName
from citadel_edge.telemetry.loop_lag import loop_lag_histogram

_PROCESS_WIDE: Final = ListenerName.ROUTING
_OPENMETRICS: Final = "application/openmetrics-text"


class Registries:
    """The four registries. One object a process.

    Attributes:
        loop_lag: `citadel_loop_lag_seconds`, to be fed by `loop_lag.watch_loop`.
    """

    def __init__(self, *, version: str) -> None:
        # A switch of the library's module, read at each rendering. `_created` series would double what is scraped, and
        # Prometheus does not use them unless told to. This is the one place that turns it.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registries = {name: CollectorRegistry() for name in ListenerName}
        self._one_at_a_time = asyncio.Lock()
        self.loop_lag = loop_lag_histogram(self.process_wide)
        self._describe_process(version)

    def of(self, listener: ListenerName) -> CollectorRegistry:
        """The registry that `/metrics` of this listener shows."""
        return self._registries[listener]

    @property
    def process_wide(self) -> CollectorRegistry:
        """Where series belong that are the process's and no listener's: pools, loop, hub."""
        return self._registries[_PROCESS_WIDE]

    async def render(self, listener: ListenerName, accept: str) -> tuple[bytes, str]:
        """Body and content type for an `Accept` header: OpenMetrics if it is asked for, else Prometheus text."""
        async with self._one_at_a_time:
            return await asyncio.to_thread(_render, self._registries[listener], accept)

    def _describe_process(self, version: str) -> None:
        ProcessCollector(registry=self.process_wide)
        GCCollector(registry=self.process_wide)
        build = Info("citadel_build", "The running build.", registry=self.process_wide)
        build.info({"version": version, "python": platform.python_version()})


def _render(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    encode, content_type = choose_encoder(_OPENMETRICS if _asks_for_openmetrics(accept) else "")
    return encode(registry), content_type


def _asks_for_openmetrics(accept: str) -> bool:
    """Only the type counts. The library's own reading of the header fails on versions that are none."""
    return any(part.partition(";")[0].strip().lower() == _OPENMETRICS for part in accept.split(","))
