"""Which slot of a cluster a command belongs to. Pure.

Decides where in a command its key stands: behind the name, but for scripts and stream reads. Refuses to know which
server serves the slot. Source: the Redis Cluster specification, "Key distribution model" and "Hash tags".
"""

from collections.abc import Sequence
from typing import Any, Final

from redis.crc import key_slot

SLOTS: Final = 16384
_KEYLESS: Final = frozenset(("PING", "ECHO", "INFO", "TIME", "PUBLISH", "CLIENT", "CLUSTER", "CONFIG", "SCRIPT"))
_SCRIPTS: Final = frozenset(("EVALSHA", "EVAL", "EVALSHA_RO", "EVAL_RO", "FCALL", "FCALL_RO"))
_READS: Final = frozenset(("XREAD", "XREADGROUP"))


def slot_of(args: Sequence[Any]) -> int | None:
    """The slot of a command's first key; null if it has none and any server will do. Names are in capitals."""
    name = args[0]
    if name in _SCRIPTS:
        place = 3 if int(args[2]) else 0
    elif name in _KEYLESS:
        place = 0
    elif name in _READS:
        place = args.index("STREAMS") + 1
    else:
        place = 1
    return slot_of_key(args[place]) if 0 < place < len(args) else None


def slot_of_key(key: bytes | str) -> int:
    """The slot of a key."""
    return key_slot(key if isinstance(key, bytes) else key.encode())
