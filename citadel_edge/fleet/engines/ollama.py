"""Ollama. 503 past its queue."""

from citadel_edge.config.shape import Engine
from citadel_edge.fleet.engines.dialect import Dialect

OLLAMA = Dialect(engine=Engine.OLLAMA, probe_path="/api/version")
