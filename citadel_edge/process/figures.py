"""How things go right now, in figures: what the hub's METRICS are made of.

Decides what an operator's page is given: rates and times over the last seconds, and what is held at this moment.
Prometheus keeps the history. Refuses to judge; that is health's.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from citadel_edge.config.shape import ListenerName
from citadel_edge.edge import Edge
from citadel_edge.streams.metrics import Transport
from citadel_edge.telemetry.hub import Topic
from citadel_edge.telemetry.tally import Tally, quantile

WINDOW_S: Final = 5.0
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_MEMORY: Final = Path("/proc/self/statm")


class Sample(Struct, frozen=True, kw_only=True):
    """What only grows, as it stood at a moment (monotonic seconds). `counts`: of each tally's buckets."""

    at_s: float
    cpu_s: float
    requests: Mapping[str, int]
    tokens_in: int
    tokens_out: int
    cost_usd: float
    shed: Mapping[str, int]
    counts: Mapping[str, Sequence[int]]


async def publish_figures(edge: Edge) -> None:
    """Publish METRICS for ever: once a second, or as often as the most eager reader asks."""
    samples: deque[Sample] = deque()
    due_s = edge.clock.monotonic_s()
    while True:
        resident = await asyncio.to_thread(resident_bytes)
        now = sample(edge)
        samples.append(now)
        while len(samples) > 2 and now.at_s - samples[1].at_s >= WINDOW_S:  # noqa: PLR2004 - the window's two ends
            samples.popleft()
        edge.hub.publish(Topic.METRICS, figures(edge, samples[0], now, resident=resident))
        due_s = max(due_s + edge.hub.pace_s, now.at_s)
        await asyncio.sleep(due_s - edge.clock.monotonic_s())


def sample(edge: Edge) -> Sample:
    """As it stands now."""
    totals = edge.ledger.totals
    return Sample(
        at_s=edge.clock.monotonic_s(),
        cpu_s=time.process_time(),
        requests=dict(totals.requests),
        tokens_in=totals.tokens_in,
        tokens_out=totals.tokens_out,
        cost_usd=float(totals.cost_usd),
        shed={name: sum(budget.snapshot()["shed"].values()) for name, budget in edge.budgets.items()},
        counts={name: tuple(tally.counts) for name, tally in _tallies(edge).items()},
    )


def figures(edge: Edge, before: Sample, now: Sample, *, resident: int | None) -> dict[str, Any]:
    """The payload: rates a second and times in milliseconds between two samples, everything else as it is."""
    span_s = now.at_s - before.at_s
    rate = _Rate(span_s)
    times = {name: _times(tally, before.counts[name], now.counts[name]) for name, tally in _tallies(edge).items()}
    by_outcome = {outcome: rate(before.requests.get(outcome, 0), count) for outcome, count in now.requests.items()}
    return {
        "window_s": round(span_s, 3),
        "uptime_s": round(edge.board.uptime_s(), 1),
        "process": {
            "resident_bytes": resident,
            "cpu": rate(before.cpu_s, now.cpu_s),
            "loop_lag_ms": times["loop_lag"],
        },
        "requests": {
            "per_s": round(sum(by_outcome.values()), 3),
            "by_outcome_per_s": by_outcome,
            "ttft_ms": times["ttft"],
            "duration_ms": times["duration"],
        },
        "tokens": {
            "in_per_s": rate(before.tokens_in, now.tokens_in),
            "out_per_s": rate(before.tokens_out, now.tokens_out),
        },
        "cost_usd_per_s": rate(before.cost_usd, now.cost_usd, digits=9),
        "streams": {
            "connections": _connections(edge),
            "delivery_ms": times["delivery"],
            "first_token_ms": times["first_token"],
            "gap_ms": times["gap"],
        },
        "listeners": {
            name.value: _listener(edge, name, rate(before.shed[name], now.shed[name])) for name in ListenerName
        },
        "upstreams": _upstreams(edge),
        "limits": {"degraded": edge.limiter.degraded},
        "dependencies": {name: check.condition.value for name, check in edge.board.checks().items()},
        "subscribers": {topic.value: count for topic, count in edge.hub.subscribers().items()},
    }


def resident_bytes() -> int | None:
    """The process's memory in RAM; null where the system does not tell. Reads a file."""
    try:
        return int(_MEMORY.read_text().split()[1]) * _PAGE_BYTES
    except OSError:
        return None


class _Rate:
    """How much a figure grew a second."""

    def __init__(self, span_s: float) -> None:
        self._span_s = span_s

    def __call__(self, before: float, now: float, *, digits: int = 3) -> float:
        return round((now - before) / self._span_s, digits) if self._span_s > 0 else 0.0


def _tallies(edge: Edge) -> dict[str, Tally]:
    door, totals = edge.stream_metrics.of(ListenerName.STREAMING), edge.ledger.totals
    return {
        "loop_lag": edge.registries.loop_lag,
        "ttft": totals.ttft_s,
        "duration": totals.duration_s,
        "delivery": door.delivery_s,
        "first_token": door.first_token_s,
        "gap": door.gap_s,
    }


def _times(tally: Tally, before: Sequence[int], now: Sequence[int]) -> dict[str, float | None]:
    counts = [later - earlier for earlier, later in zip(before, now, strict=True)]
    found = {name: quantile(tally.bounds, counts, share) for name, share in (("p50", 0.5), ("p99", 0.99))}
    return {name: None if value_s is None else round(value_s * 1000, 3) for name, value_s in found.items()}


def _connections(edge: Edge) -> dict[str, int]:
    doors = [edge.stream_metrics.of(name) for name in ListenerName]
    return {transport.value: sum(door.open[transport] for door in doors) for transport in Transport}


def _listener(edge: Edge, name: ListenerName, shed_per_s: float) -> dict[str, Any]:
    held = edge.budgets[name].snapshot()
    state = edge.board.states[name].value
    taken = {"tasks": held["tasks"], "queued": held["queued"], "bytes": held["bytes"], "spawned": held["spawned"]}
    return {"state": state, **taken, "shed_per_s": shed_per_s}


def _upstreams(edge: Edge) -> dict[str, dict[str, Any]]:
    return {
        row.id: {
            "health": row.health.value,
            "state": row.state.value,
            "breaker": row.breaker.state.value,
            "in_flight": row.in_flight,
            "slots": row.slots,
        }
        for row in edge.fleet.table.rows.values()
    }
