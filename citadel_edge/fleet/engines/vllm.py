"""vLLM."""

from citadel_edge.config.shape import Engine
from citadel_edge.fleet.engines.dialect import Dialect, LoadPage, Resumes, UsageAlong
from citadel_edge.fleet.engines.prometheus import mean, total
from citadel_edge.fleet.gauges import Reading


def read_load(page: bytes) -> Reading | None:
    """One sample an engine core; older versions name the cache's gauge differently."""
    running = total(page, b"vllm:num_requests_running")
    if running is None:
        return None
    kv = mean(page, b"vllm:kv_cache_usage_perc", b"vllm:gpu_cache_usage_perc")
    return Reading(running, total(page, b"vllm:num_requests_waiting") or 0, kv)


VLLM = Dialect(
    engine=Engine.VLLM,
    probe_path="/health",
    resumes=Resumes.FLAGS,
    keeps_end=False,  # a chat template may trim
    usage_along=UsageAlong.ABSENT,
    raw_max_tokens=16,
    slots=256,  # its default of max_num_seqs, which it does not tell
    load=LoadPage("/metrics", read_load),
)
