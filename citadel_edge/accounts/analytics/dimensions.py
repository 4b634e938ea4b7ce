"""What usage may be told apart by, and the sets of dimensions that sums are kept of. Pure.

Decides which set answers a question: the first, and so the smallest, that has all dimensions of it. None has a user
together with the upstream, endpoint, listener or outcome, or an organisation together with the upstream or listener:
it would have about as many rows as the ledger. Such questions are answered from the ledger, and only so many days of
it. Refuses to know SQL and time.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Dimension(StrEnum):
    """A column of `usage_events` that sums are told apart by."""

    ORGANISATION = "organisation_id"
    USER = "user_id"
    TIER = "tier"
    MODEL = "model"
    UPSTREAM = "upstream"
    ENDPOINT = "endpoint"
    LISTENER = "listener"
    OUTCOME = "outcome"


@dataclass(frozen=True, slots=True)
class Grain:
    """A set of dimensions that sums are kept of.

    Attributes:
        number: its own in the tables.
        key: the column of `usage_keys` that leads from a row's dimensions to its key of this grain.
        dimensions: what it tells apart.
        hours: whether hours are kept of it, besides days and months. Of the others weeks are: they are large.
    """

    number: int
    key: str
    dimensions: frozenset[Dimension]
    hours: bool = False


_D = Dimension
KEYED: Final = tuple(Dimension)
"""What keys are made of, in the order of their columns."""
EVERYTHING: Final = Grain(0, "id", frozenset(KEYED))
"""The grain of the keys that name all others. It has no sums: it would have as many rows as the ledger."""
GRAINS: Final = (
    Grain(1, "model_key", frozenset({_D.MODEL}), hours=True),
    Grain(2, "tier_key", frozenset({_D.TIER, _D.MODEL}), hours=True),
    Grain(3, "upstream_key", frozenset({_D.MODEL, _D.UPSTREAM}), hours=True),
    Grain(4, "endpoint_key", frozenset({_D.MODEL, _D.ENDPOINT, _D.LISTENER, _D.OUTCOME}), hours=True),
    Grain(5, "fleet_key", frozenset({_D.TIER, _D.MODEL, _D.UPSTREAM, _D.ENDPOINT, _D.LISTENER, _D.OUTCOME})),
    Grain(6, "organisation_key", frozenset({_D.ORGANISATION, _D.TIER, _D.MODEL})),
    Grain(7, "user_key", frozenset({_D.ORGANISATION, _D.USER, _D.TIER, _D.MODEL})),
    Grain(8, "traffic_key", frozenset({_D.ORGANISATION, _D.TIER, _D.MODEL, _D.ENDPOINT, _D.OUTCOME})),
)


def grain_of(wanted: Iterable[Dimension]) -> Grain | None:
    """The smallest set that tells all of them apart, if one does."""
    needed = frozenset(wanted)
    return next((grain for grain in GRAINS if needed <= grain.dimensions), None)
