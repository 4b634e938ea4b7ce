"""How far a memory can be trusted: which news channels have been heard without a gap since it was made. Pure.

Refuses to know what is remembered. Times are monotonic seconds, given as arguments.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Hearing:
    """One channel of news. `epoch` counts its subscriptions: between two of them news may have been missed."""

    epoch: int = 0
    subscribed: bool = False
    lost_at_s: float = 0.0

    def begin(self) -> None:
        """The channel is heard (again) from now on."""
        self.epoch += 1
        self.subscribed = True

    def end(self, now_s: float) -> None:
        """The channel is not heard any more."""
        self.subscribed = False
        self.lost_at_s = now_s

    def heard_until_s(self, epoch: int, now_s: float) -> float:
        """Until when nothing was missed since the subscription `epoch`; minus infinity if something may have been."""
        if epoch != self.epoch or epoch == 0:
            return float("-inf")
        return now_s if self.subscribed else self.lost_at_s


@dataclass(slots=True)
class Ears:
    """All channels. One that is heard without a gap is enough to trust a memory."""

    channels: tuple[Hearing, ...]

    def epochs(self) -> tuple[int, ...]:
        """To be kept beside a memory when it is made."""
        return tuple(channel.epoch for channel in self.channels)

    def confirmed_s(self, made_s: float, epochs: tuple[int, ...], now_s: float) -> float:
        """The last moment at which a memory made at `made_s` was surely still true."""
        heard = (channel.heard_until_s(epoch, now_s) for channel, epoch in zip(self.channels, epochs, strict=True))
        return max(made_s, *heard)
