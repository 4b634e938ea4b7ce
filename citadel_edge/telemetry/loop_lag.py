"""How late the event loop is: the time between when a timer was due and when it ran.

Decides how lag is measured. Refuses to judge it; alerts and the listeners' shares of the loop are others' business.
"""

import asyncio
from typing import Final

from prometheus_client import CollectorRegistry

from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.tally import Tally, TallyFamily

_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


def loop_lag_histogram(registry: CollectorRegistry) -> Tally:
    """`citadel_loop_lag_seconds`: how late timers ran, in seconds."""
    text = "How late the event loop ran a due timer."
    return TallyFamily("citadel_loop_lag_seconds", text, (), registry=registry, bounds=_BUCKETS).labels()


async def watch_loop(lag: Tally, clock: Clock, *, interval_s: float = 0.25) -> None:
    """Measure once every `interval_s` seconds, until cancelled."""
    while True:
        due_s = clock.monotonic_s() + interval_s
        await asyncio.sleep(interval_s)
        lag.observe(max(0.0, clock.monotonic_s() - due_s))
