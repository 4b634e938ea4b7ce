"""What a cluster says of its shape: which primary serves which slots. Pure.

Source: the Redis commands CLUSTER SLOTS and CLUSTER INFO, in RESP3 with texts as bytes.
"""

from collections.abc import Mapping
from typing import Any

from citadel_edge.config.addresses import Address

Shape = Mapping[Address, tuple[tuple[int, int], ...]]
"""The primaries, each with its ranges of slots, both ends included."""


def shape_of(reply: Any, asked: Address) -> Shape:
    """The shape that CLUSTER SLOTS shows; a node without a name is the one that was asked."""
    shape: dict[Address, tuple[tuple[int, int], ...]] = {}
    for first, last, (host, port, *_), *_ in reply:
        address = Address(host.decode() if host else asked.host, int(port))
        shape[address] = (*shape.get(address, ()), (int(first), int(last)))
    return {address: tuple(sorted(ranges)) for address, ranges in sorted(shape.items(), key=_first)}


def is_sound(reply: Any) -> bool:
    """Whether CLUSTER INFO says that the node agrees with most others: only then its view is the cluster's."""
    return b"cluster_state:ok" in bytes(reply)


def _first(item: tuple[Address, tuple[tuple[int, int], ...]]) -> tuple[int, int]:
    return min(item[1])
