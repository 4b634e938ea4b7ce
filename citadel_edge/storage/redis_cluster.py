"""The primaries of a Redis Cluster: who serves which slot, and how one finds out.

Each primary has lanes and a gate of its own, so that one that is away or slow holds up nobody else's calls. Decides
when the cluster is asked for its shape anew: now and then, when a node says that a key is elsewhere, and again and
again while one is away, each time another node. A call that a node refuses because its key is elsewhere was not carried
out, and goes there; nothing else is sent twice. Source: the Redis Cluster specification, "Redirection and resharding".
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any, Final

from redis.asyncio.connection import ConnectionPool, RedisSSLContext
from redis.exceptions import AskError, RedisClusterException, ResponseError
from structlog.typing import FilteringBoundLogger

from citadel_edge.config.addresses import Address
from citadel_edge.config.targets import RedisTarget
from citadel_edge.errors import RedisUnavailable
from citadel_edge.groups import plain_group
from citadel_edge.storage.backoff import Backoff
from citadel_edge.storage.gate import Gate
from citadel_edge.storage.patience import patience
from citadel_edge.storage.redis_faults import FAULTS, Fault, judge
from citadel_edge.storage.redis_link import Inquiry, NodeLink, at, connections
from citadel_edge.storage.redis_node import Callee, RedisNode
from citadel_edge.storage.redis_routed import Routed, Waiting
from citadel_edge.storage.redis_shape import Shape, is_sound, shape_of
from citadel_edge.storage.redis_slots import SLOTS, slot_of, slot_of_key
from citadel_edge.storage.state import Status

LOOK_S: Final = 10.0
SOON_S: Final = 0.25
"""So often while a node is away."""
LEAST_S: Final = 0.05
ANSWER_S: Final = 1.0
FIRST_PAUSE_S: Final = 0.05
LAST_PAUSE_S: Final = 1.0
LEAVE_S: Final = 5.0
"""So long a node that serves nothing any more may finish."""


class RedisCluster:
    """Nodes and slots. `run` must be running."""

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
        self._deadline_s = deadline_s
        self._log = log
        self._group: asyncio.TaskGroup | None = None
        self._nodes: dict[Address, RedisNode] = {}
        self._tasks: dict[Address, asyncio.Task[None]] = {}
        self._shape: Shape = {}
        self._slots: list[RedisNode | None] = [None] * SLOTS
        self._serving: tuple[RedisNode, ...] = ()
        self._whole = False
        self._doubt = asyncio.Event()
        self._waiting = Waiting(self.node_of, deadline_s)
        self._turn = 0
        self._outages_of_others = 0

    @property
    def outages(self) -> int:
        """How often a node was found away."""
        return self._outages_of_others + sum(node.gate.outages for node in self._nodes.values())

    async def run(self) -> None:
        """Keep the connections and the shape until cancelled."""
        async with plain_group() as group:
            self._group = group
            try:
                await self._keep_learning()
            finally:
                self._group = None

    def node_of(self, args: Sequence[Any]) -> Callee:
        """The node that serves a command's key; any, if it has none. At first, whoever waits for the shape."""
        self.gate.pass_through()
        if not self._waiting.over.is_set():
            return self._waiting
        slot = slot_of(args)
        node = self._any() if slot is None else self._slots[slot]
        if node is None:
            raise self._incomplete()
        return node

    async def primaries(self) -> Sequence[RedisNode]:
        """All of them; raises `RedisUnavailable` while not every slot has one."""
        await self._waiting.wait()
        self.gate.pass_through()
        if not self._whole:
            raise self._incomplete()
        return self._serving

    def connections(self, turn: int) -> ConnectionPool:
        """To one of the nodes, another each turn: what is published reaches all of them."""
        addresses = tuple(dict.fromkeys((*self._shape, *self._target.nodes)))
        return connections(at(self._target, addresses[turn % len(addresses)]))

    def is_current(self, pool: ConnectionPool) -> bool:  # noqa: ARG002 - while it answers
        """See `Servers`."""
        return True

    def redirect(self, call: Routed, error: AskError) -> None:
        """A node says that a key lives, or from now on may live, elsewhere."""
        address = Address(error.host or call.at.host, error.port)
        node = self._join(address)
        if node is None or node.gate.status is Status.DOWN:
            call.reply.set_exception(self._incomplete() if node is None else node.gate.error())
            return
        if not call.asking:
            self._slots[error.slot_id], self._shape = node, {}
            self._doubt.set()
        call.at, call.label = address, node.gate.label
        node.put(call)

    async def _keep_learning(self) -> None:
        pauses = Backoff(FIRST_PAUSE_S, LAST_PAUSE_S)
        while True:
            self._doubt.clear()
            if await self._learn():
                pauses.reset()
                pause_s = LOOK_S if self._all_up() else SOON_S
            else:
                pause_s = pauses.next_s()
            await asyncio.sleep(LEAST_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._doubt.wait()

    async def _learn(self) -> bool:
        """Ask one node after the other; the view of one that has lost the others counts only if there is no other."""
        words, lonely = "", None
        for address in self._whom():
            try:
                shape, sound = await self._view_of(address)
            except FAULTS as error:
                words = judge(error)[1]
                continue
            except Exception as error:
                self._log.exception("a cluster's shape could not be understood")
                words = judge(error)[1]
                continue
            if sound:
                self._adopt(shape)
                return True
            lonely = lonely or shape
        if lonely is not None and not self._serving:
            self._adopt(lonely)
        elif lonely is None:
            self.gate.shut(f"{self.gate.label} {words}")
            self._waiting.over.set()
        return False

    def _whom(self) -> Sequence[Address]:
        """Whoever answers, beginning with another each time; then the others, then the seeds."""
        up = [address for address, node in self._nodes.items() if node.gate.status is Status.UP]
        self._turn += 1
        first = self._turn % len(up) if up else 0
        return tuple(dict.fromkeys((*up[first:], *up[:first], *self._nodes, *self._target.nodes)))

    async def _view_of(self, address: Address) -> tuple[Shape, bool]:
        slots, info = Inquiry("CLUSTER", "SLOTS"), Inquiry("CLUSTER", "INFO")
        node = self._link(address)
        try:
            async with patience(ANSWER_S):
                await node.connect()
                await node.ask((slots, info))
            return shape_of(slots.value(), address), is_sound(info.value())
        except ResponseError as error:
            raise error if judge(error)[0] is not Fault.NONE else RedisClusterException() from error
        finally:
            await node.close()

    def _adopt(self, shape: Shape) -> None:
        if shape == self._shape:
            return
        slots: list[RedisNode | None] = [None] * SLOTS
        for address, ranges in shape.items():
            node = self._join(address)
            for first, last in ranges:
                slots[first : last + 1] = [node] * (last + 1 - first)
        self._slots, self._shape, self._whole = slots, shape, None not in slots
        self._waiting.over.set()
        for address in [known for known in self._nodes if known not in shape]:
            self._leave(address)
        self._serving = tuple(self._nodes.values())
        for node in self._serving:
            if not node.tag or slots[slot_of_key(node.tag)] is not node:
                node.tag = next(tag for tag in map(str, count()) if slots[slot_of_key(tag)] is node)

    def _join(self, address: Address) -> RedisNode | None:
        """The node at an address; null when the pool is closing."""
        node = self._nodes.get(address)
        if node is None and self._group is not None:
            gate = Gate(RedisUnavailable, f"Redis at {address}", self._log)
            node = self._nodes[address] = RedisNode(
                gate,
                partial(self._link, address),
                deadline_s=self._deadline_s,
                log=self._log,
                pending=partial(Routed, cluster=self, at=address),
                on_change=self._look_around,
            )
            self._tasks[address] = self._group.create_task(node.run(), name=f"redis node {address}")
        return node

    def _leave(self, address: Address) -> None:
        self._outages_of_others += self._nodes.pop(address).gate.outages
        asyncio.get_running_loop().call_later(LEAVE_S, self._tasks.pop(address).cancel)

    def _look_around(self) -> None:
        """A node was found, or lost: the cluster is away when all are."""
        nodes = self._nodes.values()
        if any(node.gate.status is Status.UP for node in nodes):
            self.gate.open()
        elif all(node.gate.status is Status.DOWN for node in nodes):
            self.gate.shut("; ".join(node.gate.reason for node in nodes))
        if not self._all_up():
            self._doubt.set()

    def _all_up(self) -> bool:
        return all(node.gate.status is Status.UP for node in self._nodes.values())

    def _any(self) -> RedisNode | None:
        return next((node for node in self._serving if node.gate.status is Status.UP), None)

    def _incomplete(self) -> RedisUnavailable:
        return RedisUnavailable(f"{self.gate.label} is a cluster whose slots are not all served")

    def _link(self, address: Address) -> NodeLink:
        return NodeLink(connections(at(self._target, address)), self._tls)
