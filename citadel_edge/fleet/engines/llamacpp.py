"""llama.cpp's server. `/health` is 503 while the model loads."""

from citadel_edge.config.shape import Engine
from citadel_edge.fleet.engines.dialect import Dialect, FactPage, LoadPage, Resumes, UsageAlong
from citadel_edge.fleet.engines.facts import Facts, count, loads, member
from citadel_edge.fleet.engines.prometheus import total
from citadel_edge.fleet.gauges import Reading


def read_load(page: bytes) -> Reading | None:
    """No gauge of its cache. The page is 501 unless the server was started with `--metrics`."""
    running = total(page, b"llamacpp:requests_processing")
    return None if running is None else Reading(running, total(page, b"llamacpp:requests_deferred") or 0)


def read_props(page: bytes) -> Facts:
    """Slots, each with its own context, of the one model that it serves under any name."""
    props = loads(page)
    sleeping = member(props, "is_sleeping")
    return Facts(
        slots=count(member(props, "total_slots")),
        any_context=count(member(props, "default_generation_settings", "n_ctx")),
        sleeping=sleeping if isinstance(sleeping, bool) else None,
    )


LLAMACPP = Dialect(
    engine=Engine.LLAMACPP,
    probe_path="/health",
    resumes=Resumes.TRAILING,
    usage_along=UsageAlong.TIMINGS,
    slots=1,
    load=LoadPage("/metrics", read_load, disturbs=True),
    facts=(FactPage("/props", read_props),),
)
