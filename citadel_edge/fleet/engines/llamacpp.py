"""llama.cpp's server. `/health` is 503 while the model loads."""

from citadel_edge.config.shape import Engine
from citadel_edge.fleet.engines.dialect import Dialect, Resumes

LLAMACPP = Dialect(engine=Engine.LLAMACPP, probe_path="/health", resumes=Resumes.TRAILING)
