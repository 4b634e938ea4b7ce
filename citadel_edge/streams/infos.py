"""How a stream is, told by whoever knows: the process that produces it, or the log."""

from citadel_edge.streams.cursor import Cursor
from citadel_edge.streams.live import Live
from citadel_edge.streams.messages import Record
from citadel_edge.streams.values import Info, State


def info_here(live: Live) -> Info:
    """A stream that this process produces."""
    feed = live.feed
    return Info(
        id=live.id,
        owner=live.owner,
        policy=live.policy,
        state=live.state,
        first=feed.floor,
        cursor=Cursor(feed.epoch if live.durable else feed.provisional or feed.epoch, feed.visible),
        durable=live.durable,
        created_unix_s=live.origin.created_unix_s,
        here=True,
        readers=feed.readers,
        origin=live.origin,
        begun=live.begun,
        terminal=live.terminal,
    )


def info_there(stream: str, record: Record, *, readers: int) -> Info:
    """One that the log knows, read by so many in this process."""
    head, terminal = record.head, record.terminal
    return Info(
        id=stream,
        owner=head.owner,
        policy=head.policy,
        state=State.RUNNING if terminal is None else terminal.outcome,
        first=record.first,
        cursor=Cursor(record.epochs.now, record.last),
        durable=True,
        created_unix_s=head.origin.created_unix_s,
        here=False,
        readers=readers,
        origin=head.origin,
        begun=record.begun,
        terminal=terminal,
    )
