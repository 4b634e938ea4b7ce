"""Any other OpenAI-compatible server: the list of models is the one question they all answer."""

from citadel_edge.config.shape import Engine
from citadel_edge.fleet.engines.dialect import Dialect

OPENAI = Dialect(engine=Engine.OPENAI, probe_path="/v1/models", raw_max_tokens=16)
