"""Ollama. 503 past its queue."""

from citadel_edge.config.shape import Engine
from citadel_edge.fleet.engines.dialect import Dialect, Resumes

OLLAMA = Dialect(
    engine=Engine.OLLAMA,
    probe_path="/api/version",
    resumes=Resumes.UNSURE,
    resumes_raw=Resumes.UNSURE,  # it puts a template around the prompt
    keeps_end=False,
)
