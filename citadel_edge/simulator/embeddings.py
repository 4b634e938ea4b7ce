"""Vectors that are a pure function of seed, model and text, of length 1."""

import base64
import hashlib
import math
import struct
from collections.abc import Sequence
from typing import Any

from citadel_edge.simulator.text import count_tokens

DIMENSIONS = 32


def vector(text: str, *, seed: int, model: str) -> tuple[float, ...]:
    """32 numbers."""
    ground = f"{seed}\0{model}\0{text}".encode("utf-8", "surrogatepass")
    raw = [byte - 127.5 for byte in hashlib.blake2b(ground, digest_size=DIMENSIONS).digest()]
    length = math.sqrt(sum(value * value for value in raw))
    return tuple(value / length for value in raw)


def embeddings_body(texts: Sequence[str], *, seed: int, model: str, packed: bool) -> dict[str, Any]:
    """The answer; `packed`: as base64 of little-endian 32-bit floats, which OpenAI's SDK asks for."""
    vectors = [vector(text, seed=seed, model=model) for text in texts]
    data = [
        {"object": "embedding", "index": index, "embedding": _pack(values) if packed else values}
        for index, values in enumerate(vectors)
    ]
    read = sum(count_tokens(text) for text in texts)
    return {"object": "list", "data": data, "model": model, "usage": {"prompt_tokens": read, "total_tokens": read}}


def _pack(values: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
