"""Text Generation Inference. 429 is overload, 424 a generation that failed inside."""

from citadel_edge.config.shape import Engine
from citadel_edge.fleet.engines.dialect import Dialect, Resumes

TGI = Dialect(
    engine=Engine.TGI,
    probe_path="/health",
    own_faults=frozenset({424}),
    resumes=Resumes.TRAILING,
    keeps_end=False,  # it trims the end of what it continues
    raw_max_tokens=100,
)
