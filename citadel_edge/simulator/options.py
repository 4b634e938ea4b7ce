"""What a simulated model server is like. Values only."""

from dataclasses import dataclass, field
from enum import StrEnum

from citadel_edge.simulator.faults import Fault
from citadel_edge.simulator.timing import Timing


class Engine(StrEnum):
    """The dialects."""

    VLLM = "vllm"
    SGLANG = "sglang"
    LLAMACPP = "llamacpp"
    OLLAMA = "ollama"
    TGI = "tgi"
    OPENAI = "openai"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorOptions:
    """One simulated server.

    Attributes:
        engine: whose dialect it speaks.
        model: the name it serves the model under.
        seed: two simulators with the same seed and voice say the same.
        voice: whose words it speaks, None for the model's; give replicas with different model names one voice.
        host: address to bind.
        port: port to bind, 0 for any.
        control_port: a second port for `/control/` alone, 0 for any; None: only on the model's port.
        slots: how many requests run at once, None for the engine's own default.
        queue: how many may wait behind them, None for the engine's own default.
        context_tokens: prompt and answer together.
        timing: how fast it is; the default takes no time.
        shortest: tokens of the shortest answer.
        longest: tokens of the longest answer.
        cache_blocks: prefix cache and key-value memory, in blocks of 16 tokens.
        chunk_tokens: how many tokens come together in the time of one and in one chunk (speculative decoding).
        reasoning_tokens: how many tokens it thinks before it answers a chat.
        api_key: the key it demands.
        metrics: whether the load metrics are served, where the engine has a switch for them.
        metrics_prefix: in SGLang's metric names, `sglang:` or `sglang_`.
        old_gauges: an old vLLM, whose gauge of key-value memory is `vllm:gpu_cache_usage_perc`.
        usage_always: an old llama.cpp, which sends usage in streams unasked.
        embeddings: whether embeddings are served, where the engine has a switch for them.
        faults: in force from the start.
        created: the fixed time of all answers, seconds since 1970, so that answers repeat byte by byte.
        kept_records: how many requests the statistics remember.
    """

    engine: Engine = Engine.VLLM
    model: str = "sim-model"
    seed: int = 0
    voice: str | None = None
    host: str = "127.0.0.1"
    port: int = 0
    control_port: int | None = None
    slots: int | None = None
    queue: int | None = None
    context_tokens: int = 4096
    timing: Timing = field(default_factory=Timing)
    shortest: int = 24
    longest: int = 96
    cache_blocks: int = 4096
    chunk_tokens: int = 1
    reasoning_tokens: int = 0
    api_key: str | None = None
    metrics: bool = True
    metrics_prefix: str = "sglang:"
    old_gauges: bool = False
    usage_always: bool = False
    embeddings: bool = True
    faults: tuple[Fault, ...] = ()
    created: int = 1_760_000_000
    kept_records: int = 1000
