"""What it would cost to send a request to a replica, part by part.

Decides how the parts are weighed: (load + 1) times the seconds predicted at that load, and times `HELD_UP` what the
prompt's new tokens take, those queued ahead included, because a prefill holds up everybody in the batch. The seconds
alone, conditioned on load, lose: one replica fills up while its prediction is young, in the simulation to three to
five times the tail at nine tenths of the capacity. Where first tokens are waited for, prefills weigh ten times as
much: a conversation that leaves the cache which holds it costs a long prefill there, and the place of another's.
Both were measured by `benchmarks/balancer`, over several seeds. A session only shortens the seconds: of caches the
index knows more. Refuses to choose: smaller is better, the rest is `strategies`'.
"""

from collections.abc import Sequence
from math import exp, inf
from typing import Final

from citadel_edge.fleet.signals import DECAY_S, START_S
from citadel_edge.fleet.table import Deployment, Row
from citadel_edge.routing.affinity import PrefixIndex
from citadel_edge.routing.ask import Ask

SESSION_BONUS: Final = 0.8
HELD_UP: Final = 30.0
HELD_UP_STREAM: Final = 300.0
Numbers = tuple[float, ...]


class Look:
    """What is the same for all replicas of one decision.

    Attributes:
        owner: the id of the replica that the request's session belongs to, None without one.
    """

    __slots__ = ("_peers", "_typical_s", "ask", "index", "now", "owner")

    def __init__(
        self, ask: Ask, *, now: float, index: PrefixIndex, peers: Sequence[Deployment] = (), owner: str | None = None
    ) -> None:
        self.ask = ask
        self.now = now
        self.index = index
        self.owner = owner
        self._peers = peers
        self._typical_s: tuple[float, float] | None = None

    def typical_s(self) -> tuple[float, float] | None:
        """Seconds of prefill and of decode alone, on those of which something is known; None when there are none."""
        if self._typical_s is None:
            known = [one.row.signals for one in self._peers if one.row.signals.known]
            if not known:
                return None
            splits = [one.split_s(self.ask.tokens_in, self.ask.tokens_out, 1.0) for one in known]
            first, rest = (sum(parts) / len(splits) for parts in zip(*splits, strict=True))
            self._typical_s = first, rest
        return self._typical_s


def new_tokens(row: Row, look: Look) -> int:
    """The prompt's tokens that the replica has to prefill, its probable cache counted."""
    ask = look.ask
    chain = ask.prefix
    matched = look.index.matched(row, chain) if chain else 0
    return ask.tokens_in - int(ask.tokens_in * ask.prefix_share * matched / len(chain)) if matched else ask.tokens_in


def adaptive(deployment: Deployment, look: Look) -> tuple[float, Numbers]:
    """(load + 1) times predicted seconds, for its weight."""
    row, ask, now = deployment.row, look.ask, look.now
    signals, own = row.signals, row.in_flight
    tokens = new_tokens(row, look) if ask.prefix else ask.tokens_in
    load, pressure = float(own), 1.0
    if row.gauges.reading is not None:
        load += row.gauges.foreign(now, own)
        pressure = row.gauges.pressure(now)
    gain = held_up = 0.0
    if signals.known:
        prefill, decode = signals.split_s(tokens + row.prefilling_tokens, ask.tokens_out, load + 1.0)
        weight_of_prefill = HELD_UP_STREAM if ask.stream else HELD_UP
        held_up = weight_of_prefill * signals.prefill_s(tokens + row.prefilling_tokens)
        if tokens < ask.tokens_in:
            gain = signals.prefill_s(ask.tokens_in - tokens)
    else:
        prefill, decode = look.typical_s() or (START_S, 0.0)
    session = SESSION_BONUS if look.owner == row.id else 1.0
    stall, penalty, relief, seconds = 0.0, 0.0, 1.0, (prefill + decode) * session + held_up
    if own:
        stall = _stall_s(row, prefill + decode, now)
        seconds += stall
    else:
        relief = _relief(row, now)
        seconds *= relief
    if signals.penalized_at >= row.healthy_since and signals.penalized_at > -inf:
        penalty = signals.penalty_s(now)
    warmth = 1.0 if row.healthy_since == -inf else row.warmth(now)
    weight = deployment.share
    score = (load + 1.0) * (seconds + penalty) * pressure / (warmth * weight)
    return score, (load, prefill, decode, held_up, gain, stall, penalty, pressure, warmth, weight, session, relief)


def _stall_s(row: Row, expected_s: float, now: float) -> float:
    """Seconds that a call is overdue while nothing else came from there either.

    A long call among others that progress is a long call; silence longer than a call takes is a replica that stands
    still, and is seen so long before a probe fails.
    """
    silent = now - max(row.last_byte_at, row.signals.seen_at)
    return min(row.stalled_s(now), silent) if silent > expected_s else 0.0


def _relief(row: Row, now: float) -> float:
    """How far what an idle replica taught still counts.

    It fades, so that one that was slow is tried again: by one call at a time, for meanwhile the whole of it counts.
    """
    idle = now - max(row.signals.seen_at, row.signals.penalized_at)
    return exp(-idle / DECAY_S) if idle > 0.0 else 1.0
