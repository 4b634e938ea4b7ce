"""What a user may use, as the accounts know it: limits set on the tier, the user and the organisation. Values only.

Decides nothing: what of it counts for a request is decided in `limits.plan`. Carried by the principal.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import Final

LimitValues = Mapping[str, float | None]
"""By a limit's public name. An absent one says nothing; null is no limit; 0 allows nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSheet:
    """Limits as somebody set them: for all requests, and for those of one model or endpoint alone.

    `burst`: of an organisation's own limits; null is the usual one.
    """

    values: LimitValues = field(default_factory=dict)
    by_model: Mapping[str, LimitValues] = field(default_factory=dict)
    by_endpoint: Mapping[str, LimitValues] = field(default_factory=dict)
    burst: float | None = None


EMPTY: Final = LimitSheet()


@dataclass(frozen=True, slots=True, kw_only=True)
class TopUp:
    """Tokens or dollars given on top of the periods' quotas, until `expires_unix_s` (null: until they are used up)."""

    tokens: int = 0
    nano_usd: int = 0
    expires_unix_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entitlement:
    """Everything that limits one user.

    Attributes:
        tier, overrides: the user's own limits: an override takes the place of the tier's limit of the same name.
        organisation: limits that all its users share.
        burst: the tier's, as a part of a rate's limit.
        zone: in which days and months begin.
        requests_when_away, spend_when_away: whether rates and leases, and calendar quotas, stay open without Redis.
    """

    tier: LimitSheet = EMPTY
    overrides: LimitSheet = EMPTY
    organisation: LimitSheet = EMPTY
    burst: float = 0.2
    zone: tzinfo = UTC
    requests_when_away: bool = True
    spend_when_away: bool = False
    top_ups: tuple[TopUp, ...] = ()


UNLIMITED: Final = Entitlement()
