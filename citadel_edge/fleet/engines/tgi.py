"""Text Generation Inference. 429 is overload, 424 a generation that failed inside."""

from citadel_edge.config.shape import Engine
from citadel_edge.fleet.engines.dialect import Dialect, FactPage, LoadPage, Resumes
from citadel_edge.fleet.engines.facts import Facts, count, loads, member
from citadel_edge.fleet.engines.prometheus import total
from citadel_edge.fleet.gauges import Reading


def read_load(page: bytes) -> Reading | None:
    """No gauge of its cache."""
    running = total(page, b"tgi_batch_current_size")
    return None if running is None else Reading(running, total(page, b"tgi_queue_size") or 0)


def read_info(page: bytes) -> Facts:
    """Its bound on requests, those that wait included, and the context of its one model."""
    info = loads(page)
    return Facts(
        slots=count(member(info, "max_concurrent_requests")), any_context=count(member(info, "max_total_tokens"))
    )


TGI = Dialect(
    engine=Engine.TGI,
    probe_path="/health",
    own_faults=frozenset({424}),
    resumes=Resumes.TRAILING,
    keeps_end=False,  # it trims the end of what it continues
    raw_max_tokens=100,
    slots=128,
    load=LoadPage("/metrics", read_load),
    facts=(FactPage("/info", read_info),),
)
