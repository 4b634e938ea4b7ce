"""What a model is chosen for: the `auto` names, the header, and how much quality, price and speed weigh under each.

Decides what a client's wish means. `auto` follows the header, else the configuration; `auto:cheap`, `auto:fast` and
`auto:best` say it themselves, and a name in the body is nearer to the request than a header that a client library sends
with every one, so it wins. A request that names a model gets that model, then its fallbacks in the operator's order:
the header changes nothing there. A wrong value is refused all the same, so that nobody takes a spelling mistake for a
wish that was granted.
"""

from typing import Final

from msgspec import Struct

from citadel_edge.config.shape import Objective
from citadel_edge.errors import Code, RequestError

HEADER: Final = "X-Citadel-Optimize"
AUTO: Final = "auto"
AUTO_NAMES: Final = {
    AUTO: None,
    "auto:cheap": Objective.COST,
    "auto:fast": Objective.LATENCY,
    "auto:best": Objective.QUALITY,
}
_LONGEST_ECHO: Final = 64


class Weights(Struct, frozen=True, gc=False):
    """Exponents: a score is quality^q x (cheapest / cost)^p x (fastest / latency)^l, each factor from 0 to 1."""

    quality: float
    price: float
    latency: float


WEIGHTS: Final = {
    Objective.BALANCED: Weights(1.5, 0.15, 0.05),
    Objective.COST: Weights(0.35, 1.0, 0.05),
    Objective.LATENCY: Weights(0.35, 0.05, 1.0),
    Objective.QUALITY: Weights(1.0, 0.002, 0.002),
}
"""Balanced: ten times the price must buy 1.26 times the quality, ten times the wait 1.08 times; set on the prompts of
`benchmarks/auto_models.py`, where it chooses as a person would for nine of ten, at a third of the best model's cost.
Quality: price and speed decide between equals.
"""


def is_auto(name: str) -> bool:
    """Whether a model's name leaves the choice to us."""
    return name in AUTO_NAMES


def parse_header(value: str | None) -> Objective | None:
    """What `X-Citadel-Optimize` asks for; None where it is absent or empty.

    Raises:
        RequestError: INVALID_REQUEST, with the values there are.
    """
    if value is None or not (text := value.strip().lower()):
        return None
    try:
        return Objective(text)
    except ValueError as error:
        echo = "".join(letter if letter.isprintable() else "?" for letter in value[:_LONGEST_ECHO])
        known = ", ".join(Objective)
        raise RequestError(Code.INVALID_REQUEST, f"{HEADER} is '{echo}': send one of {known}.", param=HEADER) from error


def objective_of(name: str, header: Objective | None, default: Objective) -> Objective:
    """What to choose by for a model's name as the client wrote it."""
    return AUTO_NAMES.get(name) or header or default
