"""What follows when a replica itself says that it is full, until it has shown that it is not.

::

    refused ──▶ cooling: no calls ──▶ one call tries it ─┬─ it answers: as many as before
                   ▲                                     ├─ it ends without a word: another one tries
                   └──────────── refused again: twice as long

Without the trial all who wait would go in together and be refused together. It lasts `TRIAL_S` at most, for a replica
that is full says so at once: one that is silent for longer has taken the call, and nobody waits for a long answer. As
it is a cooldown itself, there is nothing that could stay shut.

Decides how long and who tries. Refuses to know the clock: `now` is monotonic seconds. Who may change a row, and when,
is `table`'s.
"""

from typing import Final

from citadel_edge.fleet.row import Row, Ticket

TRIAL_S: Final = 1.0
LONGEST_GROWN_S: Final = 10.0
LONGEST_ASKED_S: Final = 60.0


def refused(row: Row, ticket: Ticket, *, now: float, asked_s: float) -> None:
    """A call was answered with "full": leave it alone as long as it asks, and longer each time until a call ends well.

    Calls that went in before the last cooldown was over, and are refused as well, say nothing new.
    """
    if row.trial is ticket:
        _end(row, now)
    grown_s = min(2.0 * row.cooldown_s, LONGEST_GROWN_S) if ticket.taken_at >= row.refused_until else 0.0
    cooldown_s = min(max(asked_s, grown_s), LONGEST_ASKED_S)
    row.cooldown_s = max(row.cooldown_s, cooldown_s)
    row.cooling_until = row.refused_until = max(row.cooling_until, now + cooldown_s)
    row.doubted, row.trial = True, None


def taken(row: Row, ticket: Ticket, *, now: float) -> None:
    """A call begins: the first after a cooldown tries alone."""
    if row.doubted and row.trial is None and now >= row.cooling_until:
        row.trial = ticket
        row.cooling_until = now + TRIAL_S


def answered(row: Row, ticket: Ticket, *, now: float) -> bool:
    """A call shows its first token: whether that was the trial, which is over and went well."""
    if row.trial is not ticket:
        return False
    _end(row, now)
    row.doubted, row.cooldown_s = False, 0.0
    return True


def ended(row: Row, ticket: Ticket, *, now: float, well: bool) -> None:
    """A call is over, and was not refused."""
    if well:
        row.cooldown_s = 0.0
        answered(row, ticket, now=now)
    elif row.trial is ticket:
        _end(row, now)


def _end(row: Row, now: float) -> None:
    row.trial = None
    row.cooling_until = min(row.cooling_until, now)
