"""The dialects by name. A new engine is a file beside this one and a line here."""

from typing import Final

from citadel_edge.config.shape import Engine
from citadel_edge.fleet.engines.dialect import Dialect
from citadel_edge.fleet.engines.llamacpp import LLAMACPP
from citadel_edge.fleet.engines.ollama import OLLAMA
from citadel_edge.fleet.engines.openai import OPENAI
from citadel_edge.fleet.engines.sglang import SGLANG
from citadel_edge.fleet.engines.tgi import TGI
from citadel_edge.fleet.engines.vllm import VLLM

DIALECTS: Final = {dialect.engine: dialect for dialect in (VLLM, SGLANG, LLAMACPP, OLLAMA, TGI, OPENAI)}


def dialect_of(engine: Engine) -> Dialect:
    """How to speak with the engine."""
    return DIALECTS[engine]
