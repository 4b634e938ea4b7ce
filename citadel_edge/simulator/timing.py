"""How long the simulated model takes. Pure arithmetic on milliseconds and batch sizes; whoever calls it waits.

Refuses to know slots, queues and prompts: it is told how many tokens are to be read and how many requests run beside.
"""

from dataclasses import dataclass, replace

SECOND_MS = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The speed of a model server.

    Attributes:
        first_token_ms: fixed part of the time to the first token.
        prefill_ms: per prompt token that is not in the prefix cache.
        decode_ms: per generated token of a request that runs alone.
        batch_slowdown: by which fraction each further running request slows all of them down.
    """

    first_token_ms: float = 0.0
    prefill_ms: float = 0.0
    decode_ms: float = 0.0
    batch_slowdown: float = 0.0

    def slower(self, times: float) -> "Timing":
        """The same, with everything taking `times` as long."""
        first, prefill, decode = (ms * times for ms in (self.first_token_ms, self.prefill_ms, self.decode_ms))
        return replace(self, first_token_ms=first, prefill_ms=prefill, decode_ms=decode)

    def prefill_s(self, uncached_tokens: int, running: int) -> float:
        """Seconds from the slot to the first token, with `running` requests at work, this one included."""
        return (self.first_token_ms + self.prefill_ms * uncached_tokens) * self._crowd(running) / SECOND_MS

    def decode_s(self, running: int) -> float:
        """Seconds from one token to the next, with `running` requests at work, this one included."""
        return self.decode_ms * self._crowd(running) / SECOND_MS

    def _crowd(self, running: int) -> float:
        return 1.0 + self.batch_slowdown * max(0, running - 1)
