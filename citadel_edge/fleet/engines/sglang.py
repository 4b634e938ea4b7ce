"""SGLang. Its `/health` generates a token, `/ready` does not."""

from citadel_edge.config.shape import Engine
from citadel_edge.fleet.engines.dialect import Dialect

SGLANG = Dialect(engine=Engine.SGLANG, probe_path="/ready")
