"""What a client may subscribe to, where it begins to read, and how a message of the hub looks on the wire.

A message's JSON is the hub's, encoded once; here only the few bytes that differ from reader to reader are put before
it. A cursor is `{epoch}:{seq}`: having seen the event that bears it, the reader has all of its topics up to that seq.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from citadel_edge.errors import Code, RequestError
from citadel_edge.telemetry.hub import Batch, Message, Topic

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


def sse_events(epoch: str, batch: Batch) -> Iterable[bytes]:
    """The batch as Server-Sent Events, each whole."""
    if batch.lost:
        yield b"event: lost\ndata: %s\n\n" % _ENCODE(_loss(epoch, batch))
    for message in batch.messages:
        cursor = f"{epoch}:{_seq(batch, message)}".encode()
        yield b"id: %s\nevent: %s\ndata: %s\n\n" % (cursor, message.topic.encode(), message.body)


def ws_events(identity: bytes, epoch: str, batch: Batch) -> Iterable[bytes]:
    """The batch as messages of `citadel.v1`. `identity`: the operation's id as JSON."""
    head = b'{"id":%s,"type":"event","topic":' % identity
    if batch.lost:
        yield b'%s"lost","data":%s}' % (head, _ENCODE(_loss(epoch, batch)))
    for message in batch.messages:
        cursor = f"{epoch}:{_seq(batch, message)}".encode()
        yield b'%s"%s","cursor":"%s",%s' % (head, message.topic.encode(), cursor, message.body[1:])


def _seq(batch: Batch, message: Message) -> int:
    """METRICS are seen when their time has come, with everything else that was published by then."""
    return batch.through if message.topic is Topic.METRICS else message.seq


def _loss(epoch: str, batch: Batch) -> dict[str, Any]:
    through = batch.messages[0].seq - 1 if batch.messages else batch.through
    return {"count": batch.lost, "from": f"{epoch}:{batch.after + 1}", "to": f"{epoch}:{through}"}


_ENCODE: Final = msgspec.json.Encoder().encode
