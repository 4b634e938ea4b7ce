"""The primary that sentinels name, and connections to no other.

Decides who is believed: of all sentinels that answer, the one whose configuration is the newest, and one older than was
seen before only when most of them say so, so that a sentinel that has missed a failover misleads nobody. They are asked
before a connection is made, after it was made (a server may thaw in between that was replaced meanwhile), and once a
second. Source: the Sentinel documentation, "Configuration epochs" and "Guidelines for Sentinel clients".
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NoReturn

from redis.asyncio.connection import ConnectionPool, RedisSSLContext
from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import ResponseError
from structlog.typing import FilteringBoundLogger

from citadel_edge.config.addresses import Address
from citadel_edge.config.targets import RedisTarget
from citadel_edge.groups import plain_group
from citadel_edge.storage.gate import Gate
from citadel_edge.storage.patience import patience
from citadel_edge.storage.redis_faults import FAULTS, judge
from citadel_edge.storage.redis_link import Inquiry, Link, Question, at, connections, link
from citadel_edge.storage.redis_node import RedisNode
from citadel_edge.storage.state import Status

ANSWER_S: Final = 0.5
WATCH_S: Final = 1.0
SOON_S: Final = 0.2
"""So often while it is away."""


@dataclass(frozen=True, slots=True)
class Named:
    """What a sentinel says: the primary, since which failover, and whether it thinks it down."""

    epoch: int
    address: Address
    down: bool


class Sentinels:
    """All of them together.

    Attributes:
        address: the primary that they named last.
    """

    def __init__(self, target: RedisTarget, tls: RedisSSLContext | None) -> None:
        self._name = target.master or ""
        self._links = [link(_sentinel(target, node), tls) for node in target.nodes]
        self.address: Address | None = None
        self._epoch = -1
        self._failure: Exception | None = MasterNotFoundError()
        self._moved = asyncio.Event()
        self._looking = asyncio.Lock()
        self._looks = 0

    async def primary(self) -> Address:
        """Who it is, asked from now on.

        Raises:
            MasterNotFoundError: it is thought down, or none is known.
            OSError: no sentinel answers; or another of redis-py's errors.
        """
        await self.look()
        if self._failure is not None or self.address is None:
            raise self._failure or MasterNotFoundError()
        return self.address

    async def look(self) -> None:
        """Ask all of them; callers of one moment share the answer."""
        looks = self._looks
        async with self._looking:
            if self._looks == looks:
                self._looks += 1
                await self._ask_all()

    async def leave(self, address: Address) -> NoReturn:
        """Wait until they name another; then raise `MasterNotFoundError`."""
        while self.address == address:
            await self._moved.wait()
        raise MasterNotFoundError

    async def close(self) -> None:
        """Drop the connections to them."""
        for each in self._links:
            await each.close()

    async def _ask_all(self) -> None:
        async with plain_group() as group:
            tasks = [group.create_task(self._ask(each)) for each in self._links]
        said = [task.result() for task in tasks]
        known = [one for one in said if isinstance(one, Named)]
        if not known:
            self._failure = next(one for one in said if isinstance(one, Exception))
            return
        best = max(known, key=lambda one: (one.epoch, not one.down))
        if best.epoch >= self._epoch or 2 * len(known) > len(said):
            self._failure = MasterNotFoundError() if best.down else None
            self._epoch = best.epoch
            if self.address != best.address:
                self.address = best.address
                self._moved.set()
                self._moved = asyncio.Event()

    async def _ask(self, sentinel: Link) -> Named | Exception:
        question = Inquiry("SENTINEL", "MASTER", self._name)
        try:
            async with patience(ANSWER_S):
                if not await sentinel.usable():
                    await sentinel.close()
                    await sentinel.connect()
                await sentinel.ask((question,))
            return _named(question.value())
        except ResponseError as error:
            return error if judge(error)[1] else MasterNotFoundError(str(error))
        except FAULTS as error:
            await sentinel.close()
            return error


class NamedLink:
    """A link to whichever server the sentinels name."""

    def __init__(self, sentinels: Sentinels, connect: Callable[[Address], Link]) -> None:
        self._sentinels = sentinels
        self._make = connect
        self._address: Address | None = None
        self._link: Link | None = None

    async def connect(self) -> None:
        """Connect to it, unless it is another by then: who is frozen takes connections too."""
        self._address = address = await self._sentinels.primary()
        self._link = self._make(address)
        async with plain_group() as group:
            leaving = group.create_task(self._sentinels.leave(address))
            await self._link.connect()
            await self._sentinels.look()
            leaving.cancel()
        if self._sentinels.address != address:
            raise MasterNotFoundError

    async def usable(self) -> bool:
        """Whether it is connected, and to the one that is named."""
        return self._link is not None and self._sentinels.address == self._address and await self._link.usable()

    async def ask(self, questions: Sequence[Question]) -> None:
        """One write, then the replies in order."""
        if self._link is None:
            raise ConnectionError
        await self._link.ask(questions)

    async def close(self) -> None:
        """Close the socket; what still arrives is never read."""
        if self._link is not None:
            await self._link.close()
            self._link = None


class NamedServer:
    """The server behind sentinels. `run` must be running."""

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
        self._tls = tls
        self._log = log
        self._sentinels = Sentinels(target, tls)
        self._node = RedisNode(gate, lambda: NamedLink(self._sentinels, self._link), deadline_s=deadline_s, log=log)

    @property
    def outages(self) -> int:
        """See `Servers`."""
        return self.gate.outages

    async def run(self) -> None:
        """Keep the connections, and watch whom they should be to, until cancelled."""
        try:
            async with plain_group() as group:
                group.create_task(self._node.run(), name="redis node")
                group.create_task(self._watch(), name="redis sentinels")
        finally:
            await self._sentinels.close()

    def node_of(self, args: Sequence[Any]) -> RedisNode:  # noqa: ARG002 - it takes all
        """It."""
        return self._node

    async def primaries(self) -> Sequence[RedisNode]:
        """It."""
        return (self._node,)

    def connections(self, turn: int) -> ConnectionPool:  # noqa: ARG002 - there is one
        """To it."""
        if self._sentinels.address is None:
            raise MasterNotFoundError
        return connections(at(self._target, self._sentinels.address))

    def is_current(self, pool: ConnectionPool) -> bool:
        """Whether it leads to the one that is named."""
        known = self._sentinels.address
        return (
            known is not None
            and pool.connection_kwargs["host"] == known.host
            and (pool.connection_kwargs["port"] == known.port)
        )

    def _link(self, address: Address) -> Link:
        return link(at(self._target, address), self._tls)

    async def _watch(self) -> None:
        known: Address | None = None
        while True:
            await self._sentinels.look()
            known, before = self._sentinels.address, known
            if known != before:
                self._node.another()
                if before is not None:
                    self._log.warning("sentinels name another primary", server=self.gate.label, primary=str(known))
            await asyncio.sleep(WATCH_S if self.gate.status is Status.UP else SOON_S)


def _sentinel(target: RedisTarget, address: Address) -> RedisTarget:
    """Sentinels get the same password under the name `default`: one without a password accepts any."""
    return replace(at(target, address), user="default" if target.password else None, db=0)


def _named(said: Mapping[bytes, bytes]) -> Named:
    return Named(
        epoch=int(said[b"config-epoch"]),
        address=Address(said[b"ip"].decode(), int(said[b"port"])),
        down=b"_down" in said[b"flags"],
    )
