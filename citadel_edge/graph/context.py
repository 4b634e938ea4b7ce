"""What the engine asks of a context: an id to name in errors, and a purse that resolvers may draw on."""

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(slots=True)
class Spent:
    """What resolvers spent beyond the price of the query itself: tokens of a model, in units of the same budget."""

    units: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float = 0.0

    def add(self, *, units: float = 0.0, tokens_in: int = 0, tokens_out: int = 0, usd: float = 0.0) -> None:
        """Spend more. `units` counts in the query's budget, `usd` is US dollars."""
        self.units += units
        self.tokens_in += tokens_in
        self.tokens_out += tokens_out
        self.usd += usd

    def shown(self) -> dict[str, Any]:
        """As `extensions.cost` shows it: nothing while nothing was spent."""
        if not (self.units or self.tokens_in or self.tokens_out or self.usd):
            return {}
        return {"spent": self.units, "tokensIn": self.tokens_in, "tokensOut": self.tokens_out, "usd": self.usd}


class Context(Protocol):
    """What resolvers find in `info.context`; a door's own has more."""

    @property
    def request_id(self) -> str:
        """Named to the client when something fails that nobody foresaw."""

    @property
    def spent(self) -> Spent:
        """Grows while the operation runs; one for each operation."""
