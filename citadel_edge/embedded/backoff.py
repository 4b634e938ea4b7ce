"""How long to wait before a dead part is started again: jittered exponential, forgotten after a healthy minute."""

from dataclasses import dataclass

FIRST_S = 0.1
LONGEST_S = 10.0
HEALTHY_S = 60.0


@dataclass(slots=True)
class Backoff:
    """The waits of one part. `deaths` counts those since it was last well."""

    deaths: int = 0

    def after(self, lived_s: float, chance: float) -> float:
        """Seconds to wait after a life of `lived_s` seconds, spread over [½, 1] of the step by `chance` in [0, 1]."""
        self.deaths = 1 if lived_s >= HEALTHY_S else self.deaths + 1
        step = min(LONGEST_S, FIRST_S * 2.0 ** min(self.deaths - 1, 16))
        return step * (0.5 + 0.5 * chance)
