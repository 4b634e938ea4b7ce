"""Who takes the writes of a Redis now, and what each says of its data: whose it has, and how much of it.

Asks every primary to write, and then who it is: a replica answers as well, and one that may not write is of no use.
Refuses to know what follows when it is another than before. Source: the Redis command INFO, section "replication".
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from redis.exceptions import ResponseError

from citadel_edge.errors import RedisUnavailable
from citadel_edge.storage.redis_node import RedisNode
from citadel_edge.storage.redis_pool import RedisPool

PROBE: Final = "citadel:probe"
PROBE_MS: Final = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Primary:
    """A server process that takes writes.

    Attributes:
        run_id: another for each process; empty where it does not say.
        history, offset: what its data are called, and how many bytes of writes they are made of.
        inherited, inherited_offset: whose data it had when it was promoted, and how much of them.
    """

    run_id: bytes
    history: bytes
    offset: int
    inherited: bytes
    inherited_offset: int


async def roll_call(redis: RedisPool) -> tuple[Primary, ...]:
    """Every server that takes writes. Who it is stays open where the user may not ask for INFO.

    Raises:
        RedisUnavailable: one of them does not answer, or takes no writes.
    """
    return tuple([await _ask(node) for node in await redis.primaries()])


async def _ask(node: RedisNode) -> Primary:
    await node.call(("SET", f"{PROBE}:{{{node.tag}}}" if node.tag else PROBE, b"", "PX", PROBE_MS))
    info = b""
    with suppress(RedisUnavailable, ResponseError):
        info = await node.call(("INFO", "server", "replication"))
    said = dict(line.partition(b":")[::2] for line in bytes(info).splitlines())
    return Primary(
        run_id=said.get(b"run_id", b""),
        history=said.get(b"master_replid", b""),
        offset=int(said.get(b"master_repl_offset", 0)),
        inherited=said.get(b"master_replid2", b""),
        inherited_offset=int(said.get(b"second_repl_offset", 0)) - 1,
    )
