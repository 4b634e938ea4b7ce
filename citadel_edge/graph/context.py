"""What the engine asks of a context: an id to name in errors, and the operation's purse that resolvers draw on.

The query's own price and what resolvers spend beside it, tokens of models, are one budget, in the same units. Decides
what is left of it: whoever spends claims first what it may take at most, and settles what it took. What one claim
leaves unused is no other's, so that whether an operation fits does not depend on how long its answers get.
"""

from dataclasses import dataclass, field
from math import inf
from typing import Any, Protocol

EXACT = 2.0**53


@dataclass(slots=True)
class Tokens:
    """What models took and gave for one operation; `usd` is US dollars."""

    tokens_in: int = 0
    tokens_out: int = 0
    usd: float = 0.0


@dataclass(slots=True)
class Spent:
    """One operation's budget.

    Attributes:
        price: of the query itself, as estimated.
        answered: what the query itself came to; null while that is not known.
        limit: of all together; null is none.
        claimed: what resolvers asked for beside the price.
        held: the part of it whose end is not known yet.
        settled: what the rest came to.
        claims: how many there were.
    """

    price: float = 0.0
    answered: float | None = None
    limit: float | None = None
    claimed: float = 0.0
    held: float = 0.0
    settled: float = 0.0
    claims: int = 0
    tokens: Tokens = field(default_factory=Tokens)

    @property
    def left(self) -> float:
        """What may still be claimed."""
        taken = self.price + max(self.claimed, self.held + self.settled)
        return inf if self.limit is None else max(0.0, self.limit - taken)

    @property
    def requested(self) -> float:
        """The price, and all that was claimed."""
        return self.price + self.claimed

    @property
    def actual(self) -> float:
        """What the query and the claims came to; as asked for, while it has no end.

        The query comes to no more than its price; a claim may have come to more than was held.
        """
        own = self.price if self.answered is None else min(max(self.answered, 0.0), self.price)
        return own + self.held + self.settled

    def claim(self, units: float) -> "Claim":
        """Hold so much until it is known what it came to. Whoever claims asks before what is left."""
        self.claimed += units
        self.held += units
        self.claims += 1
        return Claim(self, units)

    def shown(self) -> dict[str, Any]:
        """As `extensions.cost` shows it: the tokens' part where there was a claim."""
        cost: dict[str, Any] = {
            "requested": plain(self.requested),
            "actual": plain(self.actual),
            "limit": None if self.limit is None else plain(self.limit),
        }
        if self.claims:
            cost["tokens"] = {
                "requested": plain(self.claimed),
                "actual": plain(self.held + self.settled),
                "tokensIn": self.tokens.tokens_in,
                "tokensOut": self.tokens.tokens_out,
                "usd": self.tokens.usd,
            }
        return cost


class Claim:
    """A part of a budget until its end is known. Only its first end counts."""

    __slots__ = ("_open", "_spent", "_units")

    def __init__(self, spent: Spent, units: float) -> None:
        self._spent = spent
        self._units = units
        self._open = True

    def settle(self, units: float, tokens: Tokens) -> None:
        """It came to so much, be it more than was held."""
        if self._close():
            total = self._spent.tokens
            self._spent.settled += units
            total.tokens_in += tokens.tokens_in
            total.tokens_out += tokens.tokens_out
            total.usd += tokens.usd

    def release(self) -> None:
        """It came to nothing: nothing was begun."""
        if self._close():
            self._spent.claimed -= self._units
            self._spent.claims -= 1

    def _close(self) -> bool:
        was_open, self._open = self._open, False
        if was_open:
            self._spent.held -= self._units
        return was_open


def plain(units: float) -> float:
    """A figure as people read it: whole where it is whole, else to a thousandth."""
    if units >= EXACT:
        return units
    rounded = round(float(units), 3)
    return int(rounded) if rounded.is_integer() else rounded


class Context(Protocol):
    """What resolvers find in `info.context`; a door's own has more."""

    @property
    def request_id(self) -> str:
        """Named to the client when something fails that nobody foresaw."""

    @property
    def spent(self) -> Spent:
        """Grows while the operation runs; one for each operation."""
