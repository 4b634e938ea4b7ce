"""SGLang. Its `/health` generates a token, `/ready` does not."""

from citadel_edge.config.shape import Engine
from citadel_edge.fleet.engines.dialect import MODELS_PAGE, Dialect, FactPage, LoadPage, Resumes, UsageAlong
from citadel_edge.fleet.engines.facts import Facts, count, entries, loads, member
from citadel_edge.fleet.engines.prometheus import mean, total
from citadel_edge.fleet.gauges import Reading


def read_load(page: bytes) -> Reading | None:
    """One sample a data-parallel rank, under a prefix of either age."""
    running = total(page, b"sglang:num_running_reqs", b"sglang_num_running_reqs")
    if running is None:
        return None
    waiting = total(page, b"sglang:num_queue_reqs", b"sglang_num_queue_reqs") or 0
    return Reading(running, waiting, mean(page, b"sglang:token_usage", b"sglang_token_usage"))


def read_info(page: bytes) -> Facts:
    """What each data-parallel rank runs at once at most, or what it was started with."""
    info = loads(page)
    ranks = [
        count(member(state, "effective_max_running_requests_per_dp"))
        for state in entries(member(info, "internal_states"))
    ]
    return Facts(slots=sum(filter(None, ranks)) or count(member(info, "max_running_requests")))


SGLANG = Dialect(
    engine=Engine.SGLANG,
    probe_path="/ready",
    resumes=Resumes.FLAGS,
    usage_along=UsageAlong.NULL,
    raw_max_tokens=16,
    slots=256,
    load=LoadPage("/metrics", read_load),
    facts=(MODELS_PAGE, FactPage("/get_server_info", read_info)),
)
