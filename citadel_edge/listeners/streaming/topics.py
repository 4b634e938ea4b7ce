"""What a client may subscribe to, and how a message of the hub looks on the wire."""

from collections.abc import Iterable
from typing import Any

from citadel_edge.errors import Code, RequestError
from citadel_edge.telemetry.hub import Lost, Message, Topic

SERVED = tuple(Topic)


def parse_topics(names: Iterable[str]) -> frozenset[Topic]:
    """Topics by name; all of them for none. Raises RequestError naming the unknown one."""
    wanted = [name.strip() for name in names if name.strip()]
    known = {topic.value: topic for topic in SERVED}
    for name in wanted:
        if name not in known:
            raise RequestError(
                Code.INVALID_REQUEST, f"unknown topic {name[:40]!r}; known are {', '.join(known)}", param="topics"
            )
    return frozenset(known[name] for name in wanted) or frozenset(SERVED)


def event_of(message: Message | Lost) -> tuple[str, dict[str, Any]]:
    """Event name and data. A loss is told, never hidden."""
    if isinstance(message, Lost):
        return "lost", {"count": message.count}
    return message.topic.value, {"seq": message.seq, "at": message.at, "data": message.payload}
