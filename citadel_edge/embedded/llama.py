"""The embedded replicas: the model's file prepared, a port of the loopback held for each, and how the fleet sees them.

Decides their ids, names and capabilities. Refuses to know how llama.cpp is set up: that is `llama_server`, a program of
its own.
"""

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from citadel_edge.config.shape import Capability, DeploymentConfig, EmbeddedConfig, Engine, ModelConfig, UpstreamConfig
from citadel_edge.embedded.child import Launch
from citadel_edge.embedded.datadir import DataDir
from citadel_edge.embedded.model import INSTEAD, assemble, find_chunks
from citadel_edge.embedded.probes import llama_answers
from citadel_edge.embedded.supervisor import Part
from citadel_edge.embedded.wheels import missing, package_directory

MODEL = "gemma-3-270m"
LOOPBACK = "127.0.0.1"
SERVER = Path(__file__).with_name("llama_server.py")
PROGRESS_STEP = 10


@dataclass(frozen=True, slots=True)
class Replicas:
    """The parts to supervise, and what they are to the fleet and to the router."""

    parts: tuple[Part, ...] = ()
    upstreams: tuple[UpstreamConfig, ...] = ()
    models: tuple[ModelConfig, ...] = ()


@asynccontextmanager
async def prepared(
    data: DataDir, config: EmbeddedConfig, *, progress: Callable[[str], None]
) -> AsyncIterator[Replicas]:
    """Replicas ready to be launched; the model's file is made the first time.

    Raises:
        StartError: not installed, or no room for the model.
    """
    model = await _prepare_model(data, progress)
    with ExitStack() as held:
        ports = [held.enter_context(_held_port()) for _ in range(config.replicas)]
        parts = tuple(_part(data, config, model, name_and_port) for name_and_port in _named(ports))
        upstreams = tuple(
            UpstreamConfig(id=name, url=f"http://{LOOPBACK}:{port}", engine=Engine.LLAMACPP, slots=config.slots)
            for name, port in _named(ports)
        )
        yield Replicas(parts, upstreams, (_model(upstreams, config),))


async def _prepare_model(data: DataDir, progress: Callable[[str], None]) -> Path:
    call_soon = asyncio.get_running_loop().call_soon_threadsafe

    def tell(percent: int) -> None:
        if percent % PROGRESS_STEP == 0:
            call_soon(progress, f"preparing the model {MODEL}: {percent} %")

    return await asyncio.to_thread(_find_model, data, tell)


def _find_model(data: DataDir, tell: Callable[[int], None]) -> Path:
    if package_directory("xllamacpp") is None:
        raise missing("model server", INSTEAD)
    return assemble(find_chunks(), data.folder("models"), tell)


@contextmanager
def _held_port() -> Iterator[int]:
    """A free port of the loopback, kept bound and silent: only who shares it (SO_REUSEPORT) can listen there."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind((LOOPBACK, 0))
        yield holder.getsockname()[1]


def _named(ports: list[int]) -> Iterator[tuple[str, int]]:
    return ((f"local-{number}", port) for number, port in enumerate(ports))


def _part(data: DataDir, config: EmbeddedConfig, model: Path, name_and_port: tuple[str, int]) -> Part:
    name, port = name_and_port
    sizes = {"slots": config.slots, "context-tokens": config.context_tokens, "threads": config.threads}
    options = {"model": model, "alias": MODEL, "port": port, **sizes}
    launch = Launch(
        command=(sys.executable, "-P", str(SERVER), *(f"--{option}={value}" for option, value in options.items())),
        directory=data.path,
        log=data.log(name),
        lock=data.lock(name),
        stop_signal=signal.SIGTERM,
    )
    return Part(name=name, launch=launch, probe=partial(llama_answers, port))


def _model(upstreams: tuple[UpstreamConfig, ...], config: EmbeddedConfig) -> ModelConfig:
    return ModelConfig(
        name=MODEL,
        deployments=tuple(DeploymentConfig(upstream=upstream.id, model=MODEL) for upstream in upstreams),
        context_tokens=config.context_tokens,
        capabilities=(Capability.JSON, Capability.EMBEDDINGS),
    )
