"""`subscribe`: live state on a WebSocket, for operators.

Decides who may hear. What is told, and in which bytes, is the hub's and the topics'.
"""

import msgspec
from msgspec import UNSET

from citadel_edge.accounts.principal import Role
from citadel_edge.errors import Code, RequestError
from citadel_edge.listeners.common.live_places import Place, parse_interval, place
from citadel_edge.listeners.streaming.topics import parse_topics, ws_events
from citadel_edge.listeners.streaming.websocket.conversation import CallerOf, Operation
from citadel_edge.listeners.streaming.websocket.line import Line
from citadel_edge.listeners.streaming.websocket.messages import Ack, Done, Said, Subscribe
from citadel_edge.streams.metrics import DoorMetrics, Resumed
from citadel_edge.telemetry.hub import Hub, Topic


class Subscriptions:
    """Of one connection. `caller`: who asks, as each subscription is judged."""

    def __init__(self, hub: Hub, caller: CallerOf, metrics: DoorMetrics, line: Line) -> None:
        self._hub = hub
        self._caller = caller
        self._metrics = metrics
        self._line = line

    async def subscribe(self, asked: Subscribe, operation: Operation) -> Said:
        """What happens, until the process drains."""
        role = (await self._caller()).role
        if not role.may(Role.OPERATOR):
            raise RequestError(Code.FORBIDDEN, f"subscribing needs the role operator; this key's user has {role.value}")
        hub, topics, every_s = self._hub, parse_topics(asked.topics), parse_interval(asked.interval_s)
        begins = self._place(topics, asked.after)
        recent = asked.recent if begins.recovered is None else 0
        identity = msgspec.json.encode(asked.id)
        with hub.subscribe(topics, after=begins.after, recent=recent, metrics_every_s=every_s) as feed:
            operation.acknowledged = True
            await self._line.say(_acknowledged(asked, begins))
            while batch := await feed.batch():
                for message in ws_events(identity, hub.epoch, batch):
                    await self._line.send(message)
        return Done(id=asked.id, outcome="done")

    def _place(self, topics: frozenset[Topic], after: str | None) -> Place:
        try:
            begins = place(self._hub, topics, after)
        except RequestError:
            self._metrics.resumed(Resumed.REFUSED)
            raise
        if begins.recovered is not None:
            self._metrics.resumed(begins.recovered)
        return begins


def _acknowledged(asked: Subscribe, begins: Place) -> Ack:
    if begins.recovered is None:
        return Ack(id=asked.id)
    told = begins.told
    return Ack(
        id=asked.id,
        recovered=told["recovered"],
        lost=told.get("lost") or UNSET,
        reason=told.get("reason", UNSET),
    )
