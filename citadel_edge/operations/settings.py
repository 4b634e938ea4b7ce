"""What an operator may set of an upstream or a breaker, as values. Pure.

Decides which values are possible and what a patch makes of a setting. Refuses to know where settings are kept and what
a fleet does with them.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from msgspec import UNSET, UnsetType

from citadel_edge.errors import Code, RequestError
from citadel_edge.fleet.table import RowState

LIGHTEST: Final = 0.001
HEAVIEST: Final = 1_000_000.0
_LONGEST_REASON: Final = 500


class SettingKind(StrEnum):
    """What a setting is of."""

    UPSTREAM = "upstream"
    BREAKER = "breaker"


class Source(StrEnum):
    """Where what is shown comes from."""

    CONFIG = "config"
    API = "api"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One upstream's or breaker's setting. `version` grows with each change.

    Attributes:
        weight, state: of an upstream; null is the configuration's own.
        tripped: of a breaker; false after a reset.
        reason: what the operator gave for a trip or reset.
        set_by: the user's id.
    """

    kind: SettingKind
    id: str
    version: int
    set_by: str
    set_at: datetime
    weight: float | None = None
    state: RowState | None = None
    tripped: bool = False
    reason: str | None = None

    @property
    def key(self) -> tuple[SettingKind, str]:
        """What it is a setting of."""
        return self.kind, self.id

    @property
    def source(self) -> Source:
        """API while it says anything else than the configuration."""
        says = self.weight is not None or self.state not in (None, RowState.ACTIVE) or self.tripped
        return Source.API if says else Source.CONFIG


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamPatch:
    """What to change of an upstream; a weight of null gives it back to the configuration."""

    weight: float | UnsetType | None = UNSET
    state: RowState | UnsetType = UNSET


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerOrder:
    """Why a breaker is tripped or reset by hand."""

    reason: str | None = None


def check_patch(patch: UpstreamPatch) -> None:
    """Raise `RequestError` INVALID_REQUEST for a weight that cannot be one, and for a patch of nothing."""
    if patch.weight is UNSET and patch.state is UNSET:
        raise RequestError(Code.INVALID_REQUEST, "Name what to change: weight, state or both.")
    weight = patch.weight
    if isinstance(weight, int | float) and not LIGHTEST <= weight <= HEAVIEST:
        bounds = f"{LIGHTEST:g} to {HEAVIEST:g}"
        message = f"weight is a number from {bounds}; to send nothing there, set state to draining"
        raise RequestError(Code.INVALID_REQUEST, message, param="weight")


def check_order(order: BreakerOrder) -> None:
    """Raise `RequestError` INVALID_REQUEST for a reason that cannot be kept."""
    reason = order.reason
    if reason is not None and (len(reason) > _LONGEST_REASON or "\0" in reason or not _encodable(reason)):
        message = f"reason is a text of at most {_LONGEST_REASON} characters"
        raise RequestError(Code.INVALID_REQUEST, message, param="reason")


def _encodable(text: str) -> bool:
    return text.isascii() or text.encode(errors="replace").decode() == text
