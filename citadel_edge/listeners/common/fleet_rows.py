"""The fleet as doors show it: a replica, a breaker, and who said so. One way to look at a row, whatever the spelling.

Decides which figures are shown and how they are rounded. Refuses to know who may see them.
"""

from typing import Any, Final

from citadel_edge.edge import Edge
from citadel_edge.fleet.breaker import Breaker, BreakerState
from citadel_edge.fleet.table import BreakerEntry, Deployment, Row
from citadel_edge.operations.settings import Setting, SettingKind, Source

TYPICAL_PROMPT: Final = 512
"""Tokens of the prompt whose time to the first token is shown."""


def upstream_json(edge: Edge, row: Row) -> dict[str, Any]:
    """A replica without its key. `weight` is the operator's, null where the configuration's own counts."""
    now = edge.clock.monotonic_s()
    setting = edge.operations.setting(SettingKind.UPSTREAM, row.id)
    return {
        "id": row.id,
        "url": row.url,
        "engine": row.engine.value,
        "state": row.state.value,
        "weight": row.weight,
        "source": row.source,
        "changed": changed(setting),
        "health": row.health.value,
        "detail": detail(row),
        "probe_failures": row.probe_failures,
        "available": row.available(now),
        "warmth": round(row.warmth(now), 3),
        "slots": row.slots,
        "in_flight": row.in_flight,
        "reserved_tokens": row.reserved_tokens,
        "prefilling_tokens": row.prefilling_tokens,
        "cooling_s": round(max(0.0, row.cooling_until - now), 3),
        "stalled_s": round(row.stalled_s(now), 3),
        "breaker": row.breaker.state.value,
        "error_rate": row.breaker.error_rate(now),
        "ejections": row.breaker.trips,
        "retry_in_s": retry_in_s(row.breaker, now),
        "gauges": gauges(row, now),
        "estimates": estimates(row, now),
        "context_tokens": row.context_tokens,
        "gpu_hour_usd": row.gpu_hour_usd,
        "deployments": [
            {"model": place.name, "engine_model": place.model, "weight": place.share}
            for place in deployments(edge, row)
        ],
    }


def breaker_json(edge: Edge, entry: BreakerEntry) -> dict[str, Any]:
    """A breaker. `source` is who put it into its state: `api`, `calls`, or nobody yet (`config`)."""
    breaker, now = entry.breaker, edge.clock.monotonic_s()
    return {
        "id": entry.id,
        "upstream": entry.upstream,
        "model": entry.model,
        "state": breaker.state.value,
        "held": breaker.held,
        "source": source_of(breaker),
        "changed": changed(edge.operations.setting(SettingKind.BREAKER, entry.id)),
        "failures": breaker.failures,
        "trips": breaker.trips,
        "retry_in_s": retry_in_s(breaker, now),
    }


def detail(row: Row) -> str:
    """What its last probe said."""
    return "it refuses the key configured for it" if row.key_refused else row.health_detail


def version(edge: Edge, kind: SettingKind, identity: str) -> int:
    """What the ETag says: how often it was changed by the API. What lives changes without it."""
    setting = edge.operations.setting(kind, identity)
    return 0 if setting is None else setting.version


def changed(setting: Setting | None) -> dict[str, Any] | None:
    """Who changed it last by the API, when and why."""
    if setting is None:
        return None
    return {"by": setting.set_by, "at": setting.set_at, "reason": setting.reason, "version": setting.version}


def source_of(breaker: Breaker) -> str:
    """Who put it into its state."""
    if breaker.held:
        return Source.API.value
    return "calls" if breaker.state is not BreakerState.CLOSED else breaker.source or Source.CONFIG.value


def retry_in_s(breaker: Breaker, now: float) -> float | None:
    """Until its next probe; null while it is not open, or held by an operator."""
    waits = breaker.state is BreakerState.OPEN and not breaker.held
    return round(max(0.0, breaker.retry_at - now), 3) if waits else None


def gauges(row: Row, now: float) -> dict[str, Any] | None:
    """What the engine said of itself last, how old that is, and what of it still counts: `foreign`, `kv_pressure`."""
    seen = row.gauges
    if seen.reading is None:
        return None
    return {
        "running": seen.reading.running,
        "waiting": seen.reading.waiting,
        "kv": seen.reading.kv,
        "age_s": round(now - seen.read_at, 3),
        "unchanged_s": round(now - seen.changed_at, 3),
        "foreign": round(seen.foreign(now), 3),
        "kv_pressure": round(seen.pressure(now), 3),
    }


def estimates(row: Row, now: float) -> dict[str, Any] | None:
    """What the next call would take, as learned from the calls before; null before any."""
    signals = row.signals
    if not signals.known:
        return None
    load = row.in_flight + 1
    ttft_s = signals.predict_ttft_s(tokens_in=TYPICAL_PROMPT, prefilling_tokens=row.prefilling_tokens, load=load)
    return {
        "prompt_tokens": TYPICAL_PROMPT,
        "ttft_s": ttft_s,
        "token_s": signals.predict_token_s(load=load),
        "tokens_per_s": signals.tokens_per_s(now),
        "utilisation": signals.utilisation(now),
        "penalty_s": signals.penalty_s(now),
    }


def deployments(edge: Edge, row: Row) -> list[Deployment]:
    """The places that models have on it."""
    models = edge.config.value.models
    places = (place for model in models for place in edge.fleet.table.deployments(model.name))
    return [place for place in places if place.row is row]
