"""What a call that went well teaches of its replica's speed.

Decides which of the row's estimates a call's times speak of: a stream's rest of the decoding, a whole answer's of all.
Refuses to know the clock: `now` is monotonic seconds.
"""

from citadel_edge.fleet.row import Ticket


def ended(ticket: Ticket, tokens_out: int, *, now: float) -> None:
    """Tell the row's signals what a whole call took."""
    signals = ticket.row.signals
    load = (ticket.load + ticket.row.in_flight + 2) // 2  # between what it met and what it left
    if ticket.first_token_at is not None:
        signals.observe_decode(now - ticket.first_token_at, tokens=tokens_out - 1, load=load, now=now)
        return
    signals.observe_whole(
        now - ticket.taken_at,
        tokens_in=ticket.tokens_in,
        tokens_out=tokens_out,
        prefilling_tokens=ticket.prefilling_tokens,
        load=load,
        now=now,
    )
