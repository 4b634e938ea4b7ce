"""One Redis server, asked over a few pipelined connections.

Decides which of them carries a call, how long its caller waits, and who fails at once because the server is known to be
away. Refuses to know which server a command belongs to, and any command's meaning.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from redis.asyncio.connection import ConnectionPool, RedisSSLContext
from structlog.typing import FilteringBoundLogger

from citadel_edge.config.targets import RedisTarget
from citadel_edge.errors import RedisUnavailable
from citadel_edge.groups import plain_group
from citadel_edge.storage.gate import Gate
from citadel_edge.storage.patience import patience
from citadel_edge.storage.redis_lane import Lane, Pending, Watchtower, Work
from citadel_edge.storage.redis_link import Link, connections, link

LANES: Final = 4
PATIENT_LANES: Final = 2


class RedisNode:
    """A server and the lanes to it, which `run` keeps.

    Attributes:
        gate: whether it is known to be away.
        tag: a hash tag whose keys this server keeps; empty where it keeps all.
    """

    def __init__(
        self,
        gate: Gate,
        connect: Callable[[], Link],
        *,
        deadline_s: float,
        log: FilteringBoundLogger,
        pending: Callable[[tuple[Any, ...], float, str], Pending] = Pending,
        on_change: Callable[[], None] | None = None,
    ) -> None:
        self.gate = gate
        self.tag = ""
        self._deadline_s = deadline_s
        self._make_pending = pending
        self._on_change = on_change or _nothing
        self._quick = Work()
        self._patient = Work()
        self._tower = Watchtower(opened=self._open, shut=self._shut, alarmed=self._look_again)
        self._lanes = [
            Lane(connect(), work, self._tower, deadline_s=deadline_s, log=log)
            for work in [self._quick] * LANES + [self._patient] * PATIENT_LANES
        ]

    async def run(self) -> None:
        """Keep the connections until cancelled."""
        try:
            async with plain_group() as group:
                for lane in self._lanes:
                    group.create_task(lane.run(), name="redis lane")
        finally:
            self._fail_all(lambda: RedisUnavailable(f"{self.gate.label} is not asked any more"))

    async def call(self, args: tuple[Any, ...], deadline_s: float | None = None) -> Any:
        """See `RedisPool.call`."""
        self.gate.pass_through()
        limit_s = self._deadline_s if deadline_s is None else deadline_s
        pending = self._make_pending(args, limit_s, self.gate.label)
        self.put(pending)
        try:
            async with patience(limit_s):
                return await pending.reply
        except TimeoutError:
            raise RedisUnavailable(f"{pending.label} did not answer within {limit_s * 1000:g} ms") from None

    def put(self, pending: Pending) -> None:
        """Let it travel with the next batch."""
        (self._quick if pending.deadline_s <= self._deadline_s else self._patient).put(pending)

    def another(self) -> None:
        """The server is another now: let every lane look whether its connection leads there."""
        self._tower.hope()
        self._look_again()

    def _open(self) -> None:
        self.gate.open()
        self._on_change()

    def _shut(self, words: str) -> None:
        self.gate.shut(f"{self.gate.label} {words}")
        self._fail_all(self.gate.error)
        self._on_change()

    def _look_again(self) -> None:
        self._quick.wake_all()
        self._patient.wake_all()

    def _fail_all(self, error: Callable[[], Exception]) -> None:
        self._quick.fail_all(error)
        self._patient.fail_all(error)


class Callee(Protocol):
    """Whoever carries a command out."""

    async def call(self, args: tuple[Any, ...], deadline_s: float | None = None) -> Any:
        """See `RedisPool.call`."""


class Servers(Protocol):
    """What a pool's Redis is made of: one server or many."""

    gate: Gate

    @property
    def outages(self) -> int:
        """How often one of them was found away."""

    async def run(self) -> None:
        """Keep the connections until cancelled."""

    def node_of(self, args: Sequence[Any]) -> Callee:
        """Who carries this command out. Raises `RedisUnavailable` when nobody is known who does."""

    async def primaries(self) -> Sequence[RedisNode]:
        """All who take writes. Raises `RedisUnavailable` when some are not known."""

    def connections(self, turn: int) -> ConnectionPool:
        """A maker of connections that hear what is published; another each turn, where there are several."""

    def is_current(self, pool: ConnectionPool) -> bool:
        """Whether they still do."""


class OneServer:
    """One server, which is known."""

    def __init__(
        self,
        target: RedisTarget,
        tls: RedisSSLContext | None,
        gate: Gate,
        *,
        deadline_s: float,
        log: FilteringBoundLogger,
    ) -> None:
        self.gate = gate
        self._target = target
        self._node = RedisNode(gate, lambda: link(target, tls), deadline_s=deadline_s, log=log)
        self.run = self._node.run

    @property
    def outages(self) -> int:
        """See `Servers`."""
        return self.gate.outages

    def node_of(self, args: Sequence[Any]) -> RedisNode:  # noqa: ARG002 - it takes all
        """It."""
        return self._node

    async def primaries(self) -> Sequence[RedisNode]:
        """It."""
        return (self._node,)

    def connections(self, turn: int) -> ConnectionPool:  # noqa: ARG002 - there is one
        """To it."""
        return connections(self._target)

    def is_current(self, pool: ConnectionPool) -> bool:  # noqa: ARG002 - it stays who it is
        """See `Servers`."""
        return True


def _nothing() -> None:
    pass
