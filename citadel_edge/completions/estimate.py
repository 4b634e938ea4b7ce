"""How many tokens a prompt has when nobody counted them, and how many its answer will have.

Both learn from requests that were counted. A prompt: one number a model, bytes of its JSON a token. An answer: the
distribution of lengths, a histogram a model, and one for each bound that clients set on it, since who asks for at most
16 tokens asks something else than who sets no bound.

Decides estimates. Refuses to know tokenizers and texts.
"""

from collections.abc import Iterator
from typing import Final

_FIRST_GUESS: Final = 4.0
_KEPT: Final = 0.98  # of what was seen, by each further request
_MOST_TELLING: Final = 16384  # bytes of one prompt; more of it tell no more
_BOUNDS: Final = (0.5, 64.0)

_BUCKETS: Final = 24
_MEMORY: Final = 500.0
_PRIOR: Final = 5.0
_MOST_HISTOGRAMS: Final = 4096
_ALL: Final = -1
_UNBOUNDED: Final = 0
FIRST_LENGTH: Final = 256
"""Tokens of an answer when nothing is known: the middle of what chat and instruction models answer."""


class TokenRatios:
    """Bytes a token for each model: of all prompts of late together, so that a long one tells more than a short one."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, float]] = {}

    def observe(self, model: str, *, prompt_bytes: int, tokens: int) -> None:
        """A finished request of the model had so many prompt tokens."""
        if tokens <= 0 or prompt_bytes <= 0:
            return
        weight = min(1.0, _MOST_TELLING / prompt_bytes)
        size, count = self._seen.get(model, (0.0, 0.0))
        self._seen[model] = size * _KEPT + weight * prompt_bytes, count * _KEPT + weight * tokens

    def estimate(self, model: str, *, prompt_bytes: int) -> int:
        """Tokens of a prompt of so many bytes, at least 1."""
        size, count = self._seen.get(model, (_FIRST_GUESS, 1.0))
        low, high = _BOUNDS
        return max(1, round(prompt_bytes / min(high, max(low, size / count))))


class OutputLengths:
    """Lengths of answers, learned model by model.

    An expectation is the mean of what was seen under a like bound, blended with the mean of all the model's answers,
    blended with the first guess: each of the wider ones counts as five observations. The last 500 or so count.
    """

    def __init__(self) -> None:
        self._histograms: dict[tuple[str, int], _Histogram] = {}

    def observe(self, model: str, *, max_tokens: int | None, tokens: int, n: int = 1) -> None:
        """A finished answer of `n` choices had so many tokens together."""
        if tokens < 0 or n < 1:
            return
        for key in ((model, _ALL), (model, _class(max_tokens))):
            self._of(key).add(tokens / n)

    def expected(self, model: str, max_tokens: int | None = None, *, n: int = 1) -> int:
        """Tokens that an answer of `n` choices will have, by the mean; at least 1, at most `n * max_tokens`."""
        guess = _blend(self._histograms.get((model, _ALL)), _capped(FIRST_LENGTH, max_tokens), max_tokens)
        mean = _blend(self._histograms.get((model, _class(max_tokens))), guess, max_tokens)
        return max(1, round(n * mean))

    def p90(self, model: str, max_tokens: int | None = None, *, n: int = 1) -> int:
        """Tokens that nine of ten such answers stay within, each choice by itself; never less than expected."""
        known = self._histograms.get((model, _class(max_tokens)))
        if known is None or known.weight < _PRIOR:
            known = self._histograms.get((model, _ALL))
        guess = 3.0 * FIRST_LENGTH if known is None or known.weight < _PRIOR else known.quantile(0.9)
        return max(self.expected(model, max_tokens, n=n), round(n * _capped(guess, max_tokens)))

    @staticmethod
    def error_ratio(*, predicted: int, tokens: int) -> float:
        """Predicted over actual tokens: 1 is right, 2 was twice too many, 0.5 half of it."""
        return max(1, predicted) / max(1, tokens)

    def _of(self, key: tuple[str, int]) -> "_Histogram":
        histogram = self._histograms.get(key)
        if histogram is None:
            if len(self._histograms) >= _MOST_HISTOGRAMS:
                del self._histograms[next(iter(self._histograms))]
            histogram = self._histograms[key] = _Histogram()
        return histogram


class _Histogram:
    """Weights in buckets of doubling width. Instead of fading what is old, what is new weighs more."""

    __slots__ = ("_buckets", "_scale", "_sum", "_weights")

    def __init__(self) -> None:
        self._buckets = [0.0] * _BUCKETS
        self._scale = 1.0
        self._weights = self._sum = 0.0

    @property
    def weight(self) -> float:
        """How many observations count."""
        return self._weights / self._scale

    @property
    def mean(self) -> float:
        """Tokens."""
        return self._sum / self._weights if self._weights else 0.0

    def add(self, tokens: float) -> None:
        self._scale *= 1.0 + 1.0 / _MEMORY
        self._buckets[min(_BUCKETS - 1, int(tokens).bit_length())] += self._scale
        self._weights += self._scale
        self._sum += self._scale * tokens
        if self._scale > 1e12:  # noqa: PLR2004 - long before a float loses the small ones
            self._rescale()

    def quantile(self, part: float) -> float:
        """A length that this part of all stays within, exact to its bucket, by its place inside."""
        left = part * self._weights
        for low, high, weight in self._spans():
            if weight >= left:
                return low + (high - low) * (left / weight if weight else 0.0)
            left -= weight
        return float(2**_BUCKETS)

    def _spans(self) -> Iterator[tuple[float, float, float]]:
        for index, weight in enumerate(self._buckets):
            yield float(2**index // 2), float(2**index), weight

    def _rescale(self) -> None:
        self._buckets = [weight / self._scale for weight in self._buckets]
        self._weights /= self._scale
        self._sum /= self._scale
        self._scale = 1.0


def _blend(seen: _Histogram | None, guess: float, max_tokens: int | None) -> float:
    """The mean of what was seen, the guess counting as five observations."""
    if seen is None:
        return guess
    weight = seen.weight
    return (_PRIOR * guess + weight * _capped(seen.mean, max_tokens)) / (_PRIOR + weight)


def _class(max_tokens: int | None) -> int:
    """Bounds that are alike: within a factor of four."""
    return _UNBOUNDED if max_tokens is None else 1 + max_tokens.bit_length() // 2


def _capped(tokens: float, max_tokens: int | None) -> float:
    return tokens if max_tokens is None else min(tokens, max_tokens)
