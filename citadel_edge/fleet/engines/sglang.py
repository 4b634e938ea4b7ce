"""SGLang. Its `/health` generates a token, `/ready` does not."""

from citadel_edge.config.shape import Engine
from citadel_edge.fleet.engines.dialect import Dialect, Resumes, UsageAlong

SGLANG = Dialect(
    engine=Engine.SGLANG,
    probe_path="/ready",
    resumes=Resumes.FLAGS,
    usage_along=UsageAlong.NULL,
    raw_max_tokens=16,
)
