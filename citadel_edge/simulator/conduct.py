"""How the whole server behaves from one moment to the next: whether it moves at all, and how fast.

Unlike a fault it concerns no request in particular, and it can be changed while requests are under way: a frozen
server accepts connections and answers nothing, and what it was saying stops where it is. Refuses to know sockets.
"""

import asyncio
from typing import Annotated

import msgspec
from msgspec import Meta

from citadel_edge.simulator.timing import Timing


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What shall be so; what is not given stays as it is.

    Attributes:
        alive: False: killed, nothing listens and open connections are reset; True: started again.
        frozen: accepts connections and answers nothing, probes included; running answers stop in mid-token.
        slowness: how many times longer everything takes than the options say; 1 is as they say.
    """

    alive: bool | None = None
    frozen: bool | None = None
    slowness: Annotated[float, Meta(gt=0)] | None = None


class Conduct:
    """What a server is like now. `timing` is how fast."""

    def __init__(self, timing: Timing) -> None:
        self._given = timing
        self._moving = asyncio.Event()
        self._moving.set()
        self.timing = timing
        self.slowness = 1.0

    @property
    def frozen(self) -> bool:
        """Whether it stands still."""
        return not self._moving.is_set()

    def freeze(self) -> None:
        """Stand still."""
        self._moving.clear()

    def thaw(self) -> None:
        """Go on, where it stopped."""
        self._moving.set()

    def slow(self, times: float) -> None:
        """Take `times` as long as the options say, from the next token on."""
        self.slowness = times
        self.timing = self._given.slower(times)

    async def moving(self) -> None:
        """Wait while it is frozen."""
        await self._moving.wait()


def read_state(text: str) -> State:
    """A state as the command line takes it: `field=value,…`.

    Raises:
        ValueError: which field is wrong, and how.
    """
    try:
        fields = dict(part.split("=", 1) for part in text.split(",") if part)
        return msgspec.convert(fields, State, strict=False)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ValueError(f"no state: {text!r}: {error}") from error
