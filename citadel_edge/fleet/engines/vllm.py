"""vLLM."""

from citadel_edge.config.shape import Engine
from citadel_edge.fleet.engines.dialect import Dialect

VLLM = Dialect(engine=Engine.VLLM, probe_path="/health")
