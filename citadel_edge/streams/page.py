"""How far the log has one stream that this process produces, and what is to be told it next. Waits for nothing."""

from typing import Final

from citadel_edge.streams.feed import Feed
from citadel_edge.streams.live import Live
from citadel_edge.streams.messages import MISSING, Epochs, Head, Heard, LastWord, Words
from citadel_edge.streams.names import slot_of
from citadel_edge.streams.values import Begun, Once

GROUP_BYTES: Final = 64 * 2**10
"""So much of one stream is told at once."""


class Page:
    """One stream's.

    Attributes:
        fence: what this process writes with.
        registered: the log knows the stream; `offered`: it may.
        anew: what the log has of it is to be replaced.
        apart: the log can never take it, and is told nothing further.
        once: the start that began it, until the log knows of it.
        last_word: what is to be said instead of an end. `moves`: because this process ends.
        renewed_s: when the lease was renewed last (monotonic), and `renewed_at`: the last event that the log had then.
        lineage, begun, reservations, ended: what of these the log has.
    """

    __slots__ = (
        "anew",
        "apart",
        "begun",
        "ended",
        "fence",
        "last_word",
        "lineage",
        "live",
        "moves",
        "offered",
        "once",
        "registered",
        "renewed_at",
        "renewed_s",
        "reservations",
        "slot",
    )

    def __init__(
        self, live: Live, *, fence: int = 1, registered: bool, renewed_s: float = 0.0, once: Once | None = None
    ) -> None:
        self.live = live
        self.slot = slot_of(live.id) or 0
        self.fence = fence
        self.registered = self.offered = registered
        self.once = once
        self.anew = self.apart = False
        self.last_word: LastWord | None = None
        self.moves = False
        self.renewed_s = renewed_s
        self.renewed_at = live.feed.durable
        self.lineage = live.feed.lineage
        self.begun: Begun | None = live.begun
        self.reservations = live.reservations
        self.ended = False

    @property
    def due(self) -> bool:
        """Whether there is anything to say."""
        live, feed = self.live, self.live.feed
        return not self.apart and (
            feed.durable < feed.last
            or (live.terminal is not None and not self.ended)
            or live.begun is not self.begun
            or live.reservations != self.reservations
            or self.lineage != feed.lineage
            or not self.registered
            or self.last_word is LastWord.GIVEN_UP
        )

    def head(self) -> Head:
        """What stays the same of it."""
        return Head(origin=self.live.origin, owner=self.live.owner, policy=self.live.policy)

    def is_renewed(self, asked_s: float, durable: int) -> None:
        """Its lease was renewed after that time, when the log had everything up to this event."""
        self.renewed_s, self.renewed_at = asked_s, durable

    def is_registered(self, lineage: int, asked_s: float) -> None:
        """The log knows it since now, and nothing else of it."""
        self.registered, self.anew, self.lineage = True, False, lineage
        self.is_renewed(asked_s, self.live.feed.durable)
        self.begun, self.reservations, self.ended = None, (), False

    def words(self) -> Words:
        """What is to be said next."""
        live, feed = self.live, self.live.feed
        first = feed.durable + 1
        payloads = feed.between(first, feed.last, GROUP_BYTES) if first <= feed.last else []
        last = first + len(payloads) > feed.last
        return Words(
            stream=live.id,
            fence=self.fence,
            first=first,
            payloads=payloads,
            epochs=None if self.lineage == feed.lineage else epochs_of(feed),
            begun=None if live.begun is self.begun else live.begun,
            reservations=None if live.reservations == self.reservations else live.reservations,
            terminal=live.terminal if last and not self.ended else None,
            last_word=self.last_word if last else None,
        )

    def is_said(self, words: Words, lineage: int) -> None:
        """The log has that."""
        self.lineage = lineage
        self.begun = words.begun or self.begun
        if words.reservations is not None:
            self.reservations = words.reservations
        self.ended = self.ended or words.terminal is not None

    def lacks(self, heard: Heard) -> None:
        """The log has less than it had: it is to have again what is in memory."""
        self.ended = False
        if heard.code == MISSING:
            self.registered = False
            self.live.feed.durable = self.live.feed.floor - 1
        else:
            self.live.feed.durable = heard.last

    def begin_anew(self, epoch: str) -> None:
        """Events are neither in the log nor in memory: what is there begins anew, in another epoch."""
        feed = self.live.feed
        self.registered, self.anew, self.ended = False, True, False
        feed.floor = feed.first
        feed.durable = feed.first - 1
        feed.change_epoch(epoch, feed.known)


def epochs_of(feed: Feed) -> Epochs:
    """A feed's epochs as the log is to know them: without that of events which it has not."""
    return Epochs(feed.epoch, dict(feed.known))
