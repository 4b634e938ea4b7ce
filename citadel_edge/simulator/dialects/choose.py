"""Which dialect an engine's name means."""

from typing import assert_never

from citadel_edge.simulator.dialects.base import Dialect
from citadel_edge.simulator.dialects.llamacpp import Llamacpp
from citadel_edge.simulator.dialects.ollama import Ollama
from citadel_edge.simulator.dialects.openai import OpenAI
from citadel_edge.simulator.dialects.sglang import Sglang
from citadel_edge.simulator.dialects.tgi import Tgi
from citadel_edge.simulator.dialects.vllm import Vllm
from citadel_edge.simulator.options import Engine, SimulatorOptions


def dialect_of(options: SimulatorOptions) -> Dialect:
    """The dialect of `options.engine`."""
    match options.engine:
        case Engine.VLLM:
            return Vllm(options)
        case Engine.SGLANG:
            return Sglang(options)
        case Engine.LLAMACPP:
            return Llamacpp(options)
        case Engine.OLLAMA:
            return Ollama(options)
        case Engine.TGI:
            return Tgi(options)
        case Engine.OPENAI:
            return OpenAI(options)
        case other:
            assert_never(other)
