"""Answers about the schema itself, kept as bytes: they never change, and tools ask for them at every start."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from citadel_edge.graph.lru import Lru, Room
from citadel_edge.graph.operations import Introspects, Operation

ROOM: Final = Room(64, 8_000_000)
MAX_VARIABLES: Final = 1_000


class Introspections:
    """Data of operations that ask for the schema alone, by document, operation and variables."""

    def __init__(self, room: Room = ROOM) -> None:
        self._kept = Lru[tuple[str, str | None, bytes], msgspec.Raw](room)
        self._encoder = msgspec.json.Encoder(order="sorted")

    def get(self, operation: Operation, variables: Mapping[str, Any]) -> msgspec.Raw | None:
        """What was kept; null for any other kind of operation."""
        key = self._key(operation, variables)
        return None if key is None else self._kept.get(key)

    def keep(self, operation: Operation, variables: Mapping[str, Any], data: Any) -> None:
        """Keep an answer without errors, if it is one about the schema alone."""
        key = self._key(operation, variables)
        if key is not None:
            raw = msgspec.Raw(msgspec.json.encode(data))
            self._kept.put(key, raw, size=len(bytes(raw)) + len(key[0]) + len(key[2]))

    def _key(self, operation: Operation, variables: Mapping[str, Any]) -> tuple[str, str | None, bytes] | None:
        if operation.introspects is not Introspects.ONLY:
            return None
        encoded = self._encoder.encode(variables)
        return (operation.text, operation.name, encoded) if len(encoded) <= MAX_VARIABLES else None
