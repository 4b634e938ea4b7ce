"""How long things last that instances have to agree on. They do: these are the same everywhere, but in tests."""

from typing import Final

from msgspec import Struct


class Timing(Struct, frozen=True, kw_only=True):
    """Durations.

    Attributes:
        lease_s: a producer that was not heard for so long is dead.
        tend_s: leases are renewed, and those of the dead looked for, so often.
        gap_s: when nobody has looked for so long, the server may have been away.
        moment_s: then those whose leases ran out have so long to be heard.
        follow_s: a follower that was not heard for so long reads no more.
        look_s: a follower that has heard nothing looks so often all the same.
        gone_s: a stream that the log has not got back after so long is gone.
        orphan_s: a stream that nobody has gone on with after so long ends.
        late_s: an event that the log has not after so long is shown all the same.
        away_s: so long is Redis waited for by who reads what is only there.
    """

    lease_s: float = 5.0
    tend_s: float = 1.0
    gap_s: float = 2.5
    moment_s: float = 2.0
    follow_s: float = 6.0
    look_s: float = 1.0
    gone_s: float = 8.0
    orphan_s: float = 60.0
    late_s: float = 0.05
    away_s: float = 30.0

    @property
    def sure_s(self) -> float:
        """A lease that was renewed before less than this is certainly held."""
        return self.lease_s - self.tend_s

    @property
    def tell_s(self) -> float:
        """A follower says so often that it is one."""
        return self.follow_s / 3


TIMING: Final = Timing()
