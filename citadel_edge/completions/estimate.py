"""How many tokens a prompt has when nobody counted them. Learns from requests that were counted.

Decides by one number a model: bytes of the prompt's JSON a token. Refuses to know tokenizers.
"""

from typing import Final

_FIRST_GUESS: Final = 4.0
_WEIGHT: Final = 0.05
_BOUNDS: Final = (0.5, 64.0)


class TokenRatios:
    """Bytes a token, a moving average for each model."""

    def __init__(self) -> None:
        self._ratios: dict[str, float] = {}

    def observe(self, model: str, *, prompt_bytes: int, tokens: int) -> None:
        """A finished request of the model had so many prompt tokens."""
        if tokens <= 0 or prompt_bytes <= 0:
            return
        low, high = _BOUNDS
        ratio = min(high, max(low, prompt_bytes / tokens))
        old = self._ratios.get(model, ratio)
        self._ratios[model] = old + _WEIGHT * (ratio - old)

    def estimate(self, model: str, *, prompt_bytes: int) -> int:
        """Tokens of a prompt of so many bytes, at least 1."""
        return max(1, round(prompt_bytes / self._ratios.get(model, _FIRST_GUESS)))
