"""vLLM."""

from citadel_edge.config.shape import Engine
from citadel_edge.fleet.engines.dialect import Dialect, Resumes, UsageAlong

VLLM = Dialect(
    engine=Engine.VLLM,
    probe_path="/health",
    resumes=Resumes.FLAGS,
    keeps_end=False,  # a chat template may trim
    usage_along=UsageAlong.ABSENT,
    raw_max_tokens=16,
)
