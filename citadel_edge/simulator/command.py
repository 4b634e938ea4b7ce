"""`citadel-edge simulate`: one simulated model server as a process, until SIGTERM or SIGINT."""

import argparse
import asyncio
import gc
import signal
import sys
from collections.abc import Iterable

from citadel_edge.simulator.background import background
from citadel_edge.simulator.conduct import State, read_state
from citadel_edge.simulator.faults import Fault, read_fault
from citadel_edge.simulator.options import Engine, SimulatorOptions
from citadel_edge.simulator.server import Simulator, running
from citadel_edge.simulator.timing import Timing

SECOND_MS = 1000.0
LAST_PORT = 65_535
DEFAULTS = SimulatorOptions()
GC_THRESHOLDS = (200_000, 50, 1000)  # a quarter of the time of a small request otherwise


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `simulate`."""
    add = parser.add_argument
    add("--engine", type=Engine, choices=list(Engine), default=Engine.VLLM, help="whose dialect it speaks")
    add("--model", default=DEFAULTS.model, help="the model's name")
    add("--host", default=DEFAULTS.host)
    add("--port", type=_port, default=0, help="0: any free port")
    add("--control-port", type=_port, help="a port of its own for /control/ (0: any free port)")
    add("--seed", type=int, default=0, help="same seed and voice, same words")
    add("--voice", help="whose words it speaks; default: the model's")
    add("--api-key", help="the key it demands")
    _add_speed(parser)
    _add_size(parser)
    _add_quirks(parser)


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= LAST_PORT:
        raise argparse.ArgumentTypeError(f"a port is 0 to {LAST_PORT}, got {port}")
    return port


def options_of(args: argparse.Namespace) -> SimulatorOptions:
    """The options that the flags mean."""
    decode_ms = SECOND_MS / args.tokens_per_s if args.tokens_per_s else 0.0
    return SimulatorOptions(
        engine=args.engine,
        model=args.model,
        host=args.host,
        port=args.port,
        control_port=args.control_port,
        seed=args.seed,
        voice=args.voice,
        api_key=args.api_key,
        timing=Timing(
            first_token_ms=args.first_token_ms,
            prefill_ms=args.prefill_ms,
            decode_ms=decode_ms,
            batch_slowdown=args.batch_slowdown,
        ),
        slots=args.slots,
        queue=args.queue,
        context_tokens=args.context_tokens,
        shortest=args.answer_tokens[0],
        longest=args.answer_tokens[1],
        cache_blocks=args.cache_blocks,
        chunk_tokens=args.chunk_tokens,
        reasoning_tokens=args.reasoning_tokens,
        metrics=not args.no_metrics,
        metrics_prefix=args.metrics_prefix,
        old_gauges=args.old_gauges,
        usage_always=args.usage_always,
        embeddings=not args.no_embeddings,
        faults=tuple(args.fault),
    )


def run(args: argparse.Namespace) -> int:
    """Serve until a signal; the exit code is 0 then, and 1 when the port is taken."""
    try:
        asyncio.run(_serve(options_of(args), args.at))
    except OSError as error:
        sys.stderr.write(f"cannot serve on {args.host}:{args.port}: {error.strerror or error}\n")
        return 1
    return 0


async def _serve(options: SimulatorOptions, script: Iterable[tuple[float, State]]) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with running(options) as simulator, background() as tasks:
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        control = "" if simulator.control_url == simulator.url else f", control at {simulator.control_url}/control/"
        sys.stdout.write(f"{options.engine} simulator of {options.model} at {simulator.url}{control}\n")
        sys.stdout.flush()
        tasks.spawn(_play(simulator, sorted(script, key=lambda item: item[0])))
        await stopped.wait()


async def _play(simulator: Simulator, script: Iterable[tuple[float, State]]) -> None:
    """Let it become what the script says, when it says so."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for after_s, state in script:
        await asyncio.sleep(began + after_s - loop.time())
        await simulator.become(state)


def _add_speed(parser: argparse.ArgumentParser) -> None:
    speed = parser.add_argument_group("speed")
    add = speed.add_argument
    add("--tokens-per-s", type=_not_negative, default=50.0, help="of a request that runs alone; 0: no delay at all")
    add("--prefill-ms", type=_not_negative, default=0.2, help="per prompt token that is not cached")
    add("--first-token-ms", type=_not_negative, default=20.0, help="fixed part of the time to the first token")
    add("--batch-slowdown", type=_not_negative, default=0.02, help="fraction by which each further request slows all")


def _add_size(parser: argparse.ArgumentParser) -> None:
    size = parser.add_argument_group("size")
    add = size.add_argument
    add("--slots", type=_positive, help="requests at once; default: the engine's own")
    add("--queue", type=int, help="requests that may wait; default: the engine's own")
    add("--context-tokens", type=_positive, default=DEFAULTS.context_tokens)
    add("--answer-tokens", type=_span, default=(DEFAULTS.shortest, DEFAULTS.longest), help="shortest-longest: 24-96")
    add("--cache-blocks", type=int, default=DEFAULTS.cache_blocks, help="prefix cache, in blocks of 16 tokens")


def _add_quirks(parser: argparse.ArgumentParser) -> None:
    quirks = parser.add_argument_group("quirks and faults")
    add = quirks.add_argument
    add("--chunk-tokens", type=_positive, default=1, help="tokens that come together, as with speculative decoding")
    add("--reasoning-tokens", type=int, default=0, help="tokens of thought before each answer")
    add("--no-metrics", action="store_true", help="llama.cpp without --metrics")
    add("--metrics-prefix", default=DEFAULTS.metrics_prefix, help="of SGLang's metrics: sglang: or sglang_")
    add("--old-gauges", action="store_true", help="an old vLLM: gpu_cache_usage_perc")
    add("--usage-always", action="store_true", help="an old llama.cpp")
    add("--no-embeddings", action="store_true")
    add("--fault", type=_fault, action="append", default=[], help='stall:after_tokens=5,times=1 or {"kind": "stall"}')
    add("--at", type=_happening, action="append", default=[], help="20:frozen=true or 9:alive=false or 5:slowness=10")


def _fault(text: str) -> Fault:
    try:
        return read_fault(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _happening(text: str) -> tuple[float, State]:
    after_s, _, state = text.partition(":")
    try:
        return _not_negative(after_s), read_state(state)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _not_negative(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError("a number of 0 or more")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("a whole number of 1 or more")
    return value


def _span(text: str) -> tuple[int, int]:
    low, _, high = text.partition("-")
    shortest, longest = int(low), int(high or low)
    if not 0 < shortest <= longest:
        raise argparse.ArgumentTypeError("shortest-longest, both 1 or more")
    return shortest, longest
