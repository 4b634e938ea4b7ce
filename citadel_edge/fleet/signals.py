"""What a replica's calls taught about it: how long a prompt and a token take there, at which load.

Two fits are learned while requests pass, by least squares that forget: seconds to the first token over the tokens
that are prefilled before it (the call's own and those queued ahead) and over the load; seconds per output token over
the load. A fit serves an engine that batches (hardly a slope) as well as one whose slots share a processor (a steep
one), and needs no tuning. On top lies the pace: what calls take of late against those fits. It rises within a few
calls when a replica turns slow.

Decides what is expected of a call. Refuses to know who is asked, what time it is, and what a score is: `now` is
monotonic seconds.

Sources: Finagle's peak EWMA (decay 10 s, start 30 ms, a failure counts as a round trip of 5 s).
"""

from math import exp, inf
from typing import Final

from citadel_edge.fleet.fits import Fit, Peak

DECAY_S: Final = 10.0
START_S: Final = 0.030
FAILURE_S: Final = 5.0
_PACE_CALLS: Final = 12.0
_SURPRISE: Final = 4.0  # mean deviations beyond which a call is no longer noise
_SLOWEST: Final = 20.0  # times as slow as usual; what is slower is as good as standing still
_TELLING: Final = 8  # tokens of an answer that tell of the time a token takes
_FLOOR_S: Final = 1e-6
_TOKENS_APART: Final = 64.0
_LOAD_APART: Final = 1.0


class Signals:
    """One object a replica; a fixed few hundred bytes."""

    __slots__ = (
        "_best_rate",
        "_deviation",
        "_first",
        "_pace_calls",
        "_penalty_s",
        "_rate",
        "_rate_at",
        "_token",
        "pace",
        "peak",
        "penalized_at",
        "seen_at",
    )

    def __init__(self) -> None:
        self._first = Fit(START_S, (_TOKENS_APART, _LOAD_APART))
        self._token = Fit(0.0, (_LOAD_APART, 1.0))
        self._pace_calls = 0.0
        self._deviation = 0.5
        self._penalty_s = 0.0
        self._rate = self._best_rate = 0.0
        self._rate_at = -inf
        self.pace = 1.0
        self.peak = Peak(DECAY_S)
        self.penalized_at = -inf
        self.seen_at = -inf

    @property
    def known(self) -> bool:
        """Whether any call taught anything."""
        return self._first.calls > 0.0 or self._token.calls > 0.0

    def predict_ttft_s(self, *, tokens_in: int, prefilling_tokens: int, load: int) -> float:
        """Seconds to the first token of a prompt of `tokens_in`, `prefilling_tokens` ahead of it; `load` counts it."""
        return self.pace * self._first.at(tokens_in + prefilling_tokens, load)

    def predict_token_s(self, *, load: int) -> float:
        """Seconds per output token with `load` calls there, this one included."""
        return self.pace * self._token.at(load, 0)

    def predict_total_s(self, *, tokens_in: int, tokens_out: int, prefilling_tokens: int, load: int) -> float:
        """Seconds from sending to the last token."""
        first = self._first.at(tokens_in + prefilling_tokens, load)
        return self.pace * (first + tokens_out * self._token.at(load, 0))

    def expected(self, tokens: float, tokens_out: int, load: float) -> tuple[float, float, float] | None:
        """What the next call is expected to take at a load, in one look, as every request asks it of every replica.

        Seconds for `tokens` to prefill, those ahead included; for `tokens_out` to decode; and what one prompt token
        costs, and a cache which holds it saves. None while no call taught anything.
        """
        first, token, pace = self._first, self._token, self.pace
        if not first.calls and not token.calls:
            return None
        decode_s = pace * tokens_out * token.at(load, 0.0) if tokens_out else 0.0
        return pace * first.at(tokens, load), decode_s, pace * first.b

    def observe_first_token(
        self, seconds: float, *, tokens_in: int, prefilling_tokens: int, load: int, now: float
    ) -> None:
        """A first token came `seconds` after the call was taken; the rest as it was when it was taken."""
        tokens = tokens_in + prefilling_tokens
        if self._first.calls:
            self._judge(seconds, self._first.at(tokens, load))
        self._first.observe(tokens, load, seconds, now)
        self.peak.observe(seconds, now)
        self.seen_at = now

    def observe_decode(self, seconds: float, *, tokens: int, load: int, now: float) -> None:
        """`tokens` came within `seconds` after the first."""
        if tokens <= 0:
            return
        if self._token.calls:
            self._judge(seconds, tokens * self._token.at(load, 0))
        self._token.observe(load, 0, seconds / tokens, now)
        self._count(tokens, now)
        self.seen_at = now

    def observe_whole(
        self, seconds: float, *, tokens_in: int, tokens_out: int, prefilling_tokens: int, load: int, now: float
    ) -> None:
        """An answer in one piece. What it took is told to both fits in the proportion expected of them."""
        tokens = tokens_in + prefilling_tokens
        first, rest = self._first.at(tokens, load), tokens_out * self._token.at(load, 0)
        if tokens_out < _TELLING and (self._token.calls or not tokens_out):  # it tells of its prompt alone
            if self._first.calls and self._first.covers(tokens):
                self._judge(seconds, first + rest)
            self._first.observe(tokens, load, max(seconds - rest, _FLOOR_S), now)
            self.peak.observe(seconds, now)
            self._count(tokens_out, now)
            self.seen_at = now
            return
        if tokens_out and not self._token.calls:
            first = min(first, seconds / 2)
            rest = seconds - first
        elif self._first.calls:
            self._judge(seconds, first + rest)
        self.peak.observe(seconds, now)
        share = seconds / max(first + rest, _FLOOR_S)
        self._first.observe(tokens, load, first * share, now)
        if tokens_out:
            self._token.observe(load, 0, rest / tokens_out * share, now)
            self._count(tokens_out, now)
        self.seen_at = now

    def penalize(self, *, now: float, seconds: float = FAILURE_S) -> None:
        """A call failed: that counts as one that took `seconds` (5 s, or what Retry-After says)."""
        self._penalty_s = max(self.penalty_s(now), seconds)
        self.penalized_at = now
        self.peak.observe(seconds, now)

    def renew(self) -> None:
        """The replica is back: what it was slow at before it went says nothing of it now."""
        self.pace, self._deviation, self._pace_calls, self._penalty_s = 1.0, 0.5, 0.0, 0.0

    def penalty_s(self, now: float) -> float:
        """What failures of late add to a round trip, in seconds."""
        return self._penalty_s * exp((self.penalized_at - now) / DECAY_S) if self._penalty_s else 0.0

    def tokens_per_s(self, now: float) -> float:
        """Output tokens a second over the last ten seconds or so, all calls together."""
        return self._rate * exp((self._rate_at - now) / DECAY_S) if self._rate else 0.0

    def utilisation(self, now: float) -> float:
        """The throughput of late as a part, 0 to 1, of the best one seen; 0 before any."""
        return self.tokens_per_s(now) / self._best_rate if self._best_rate else 0.0

    def _judge(self, seconds: float, expected: float) -> None:
        """Let one call move the pace: as one of the last dozen, or by half when it is beyond all noise."""
        self._penalty_s *= 0.5
        off = min(seconds / max(expected, _FLOOR_S), _SLOWEST) - self.pace
        calls = self._pace_calls = min(self._pace_calls + 1.0, _PACE_CALLS)
        self.pace += off * (0.5 if off > _SURPRISE * self._deviation else 1.0 / (calls + 1.0))
        self._deviation += (abs(off) - self._deviation) / _PACE_CALLS

    def _count(self, tokens: int, now: float) -> None:
        self._rate = self.tokens_per_s(now) + tokens / DECAY_S
        self._rate_at = now
        self._best_rate = max(self._rate, self._best_rate)
