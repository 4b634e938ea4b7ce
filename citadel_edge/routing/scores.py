"""What it would cost to send a request to a replica, part by part.

Decides how the parts are weighed: (load + 1) times the seconds predicted at that load, and times `HELD_UP` what the
prompt's new tokens take, those queued ahead included, because a prefill holds up everybody in the batch. The seconds
alone, conditioned on load, lose: one replica fills up while its prediction is young, in the simulation to three to
five times the tail at nine tenths of the capacity. Where first tokens are waited for, prefills weigh ten times as
much: a conversation that leaves the cache which holds it costs a long prefill there, and the place of another's.
Both were measured by `benchmarks/balancer`, over several seeds. A session only shortens the seconds: of caches the
index knows more. Refuses to choose: smaller is better, the rest is `strategies`'.
"""

from collections.abc import Mapping, Sequence
from math import exp, inf
from typing import Final

from citadel_edge.fleet.signals import DECAY_S, START_S
from citadel_edge.fleet.table import Deployment, Row
from citadel_edge.routing.ask import Ask

SESSION_BONUS: Final = 0.8
HELD_UP: Final = 30.0
HELD_UP_STREAM: Final = 300.0
_NEVER: Final = -inf
Numbers = tuple[float, ...]


class Look:
    """What is the same for all replicas of one decision.

    Attributes:
        held: how many of the prompt's blocks a replica probably holds, by its id; those that hold none are left out.
        owner: the id of the replica that the request's session belongs to, None without one.
    """

    __slots__ = ("_peers", "_typical_s", "ask", "held", "now", "owner")

    def __init__(
        self,
        ask: Ask,
        *,
        now: float,
        held: Mapping[str, int],
        peers: Sequence[Deployment] = (),
        owner: str | None = None,
    ) -> None:
        self.ask = ask
        self.now = now
        self.held = held
        self.owner = owner
        self._peers = peers
        self._typical_s: tuple[float, float] | None = None

    def typical_s(self) -> tuple[float, float]:
        """Seconds of prefill and of decode alone, on those of which something is known, else a guess."""
        if self._typical_s is None:
            ask = self.ask
            self._typical_s = mean_s(self._peers, ask.tokens_in, ask.tokens_out, 1.0) or (START_S, 0.0)
        return self._typical_s


def mean_s(places: Sequence[Deployment], tokens: int, tokens_out: int, load: float) -> tuple[float, float] | None:
    """Seconds of prefill and of decode at a load, on those of which something is known; None when there are none."""
    looks = (one.row.signals.expected(tokens, tokens_out, load) for one in places)
    known = [look for look in looks if look is not None]
    if not known:
        return None
    prefills, decodes, _ = zip(*known, strict=True)
    return sum(prefills) / len(known), sum(decodes) / len(known)


def new_tokens(ask: Ask, matched: int) -> int:
    """The prompt's tokens that a replica has to prefill which holds so many of its blocks."""
    if not matched:
        return ask.tokens_in
    return ask.tokens_in - int(ask.tokens_in * ask.prefix_share * matched / len(ask.prefix))


def adaptive(deployment: Deployment, weight: float, look: Look) -> tuple[float, Numbers]:
    """(load + 1) times predicted seconds, for its weight."""
    row, ask, now = deployment.row, look.ask, look.now
    signals, gauges, own = row.signals, row.gauges, row.in_flight
    tokens = new_tokens(ask, look.held[row.id]) if row.id in look.held else ask.tokens_in
    load, pressure = float(own), 1.0
    if gauges.adds:
        load += gauges.foreign(now, own)
        pressure = gauges.pressure(now)
    gain = held_up = 0.0
    ahead = tokens + row.prefilling_tokens
    expected = signals.expected(ahead, ask.tokens_out, load + 1.0)
    if expected is None:
        prefill, decode = look.typical_s()
    else:
        prefill, decode, token = expected
        held_up = (HELD_UP_STREAM if ask.stream else HELD_UP) * (token * ahead)
        gain = token * (ask.tokens_in - tokens) if tokens < ask.tokens_in else 0.0
    session = SESSION_BONUS if look.owner == row.id else 1.0
    stall, penalty, relief, seconds = 0.0, 0.0, 1.0, (prefill + decode) * session + held_up
    if not own:
        relief = _relief(row, now)
        seconds *= relief
    elif now - signals.seen_at > prefill + decode:
        stall = _stall_s(row, prefill + decode, now)
        seconds += stall
    if _NEVER < signals.penalized_at >= row.healthy_since:
        penalty = signals.penalty_s(now)
    warmth = 1.0 if row.healthy_since == _NEVER else row.warmth(now)
    score = (load + 1.0) * (seconds + penalty) * pressure / (warmth * weight)
    return score, (load, prefill, decode, held_up, gain, stall, penalty, pressure, warmth, weight, session, relief)


def _stall_s(row: Row, expected_s: float, now: float) -> float:
    """Seconds that a call is overdue while nothing else came from there either.

    A long call among others that progress is a long call; silence longer than a call takes is a replica that stands
    still, and is seen so long before a probe fails. Not worth asking where a call was seen to end within that time.
    """
    silent = now - max(row.last_byte_at, row.signals.seen_at)
    return min(row.stalled_s(now), silent) if silent > expected_s else 0.0


def _relief(row: Row, now: float) -> float:
    """How far what an idle replica taught still counts.

    It fades, so that one that was slow is tried again: by one call at a time, for meanwhile the whole of it counts.
    """
    idle = now - max(row.signals.seen_at, row.signals.penalized_at)
    return exp(-idle / DECAY_S) if idle > 0.0 else 1.0
