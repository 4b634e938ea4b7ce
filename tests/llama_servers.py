"""llama.cpp's own servers with the real model, on loopback."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from citadel_edge.embedded.llama import SERVER
from citadel_edge.embedded.model import assemble, find_chunks
from embedded import processes

MODEL = "gemma-3-270m"
MODEL_FILE = "gemma-3-270m-q4_k_m.gguf"


def model_in(folder: Path) -> Path:
    """The model's file, put together there."""
    assemble(find_chunks(), folder, lambda _: None)
    return folder / MODEL_FILE


@contextmanager
def llama_server(model: Path, log: Path) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """A server that starts, and its address; killed in the end."""
    with socket.socket() as holder, log.open("wb") as output:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        options = {"model": model, "alias": MODEL, "port": port, "slots": 1, "context-tokens": 512}
        words = (f"--{name}={it}" for name, it in options.items())
        command = [sys.executable, "-P", str(SERVER), *words, "--threads=1"]
        with subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process:
            yield process, f"http://127.0.0.1:{port}"
            process.kill()


def listens(log: Path) -> bool:
    """Whether the server that writes this log takes requests, at last."""
    return processes.until(lambda: "listening" in log.read_text())
