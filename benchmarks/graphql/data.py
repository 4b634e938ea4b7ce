"""The data that every engine answers from."""

from typing import Any

NODES = 100
MODELS = 12
REPLICAS = 3
Row = dict[str, Any]


def nodes() -> list[Row]:
    """A hundred nodes of seven fields."""
    return [
        {
            "id": f"node-{n}",
            "name": f"Node number {n}",
            "number": n,
            "weight": n * 0.5,
            "active": n % 3 > 0,
            "role": ("USER", "OPERATOR", "ADMIN")[n % 3],
            "note": None if n % 2 else f"even {n}",
        }
        for n in range(NODES)
    ]


def models() -> list[Row]:
    """A dozen models with their replicas."""
    return [
        {
            "name": f"model-{n}",
            "aliases": [f"alias-{n}-{k}" for k in range(2)],
            "contextTokens": 8192 * (1 + n % 4),
            "capabilities": ["TOOLS", "VISION"][: 1 + n % 2],
            "inputUsdPerMtok": 0.25 * n,
            "outputUsdPerMtok": 1.25 * n,
            "replicas": [_replica(f"replica-{n}-{k}", k) for k in range(REPLICAS)],
        }
        for n in range(MODELS)
    ]


def viewer() -> Row:
    """Who asks."""
    return {"id": "7", "name": "Ada", "role": "ADMIN", "tier": "gold"}


def _replica(name: str, k: int) -> Row:
    return {"id": name, "engine": "vllm", "state": "ENABLED", "healthy": k < REPLICAS - 1, "inFlight": k, "slots": 8}
