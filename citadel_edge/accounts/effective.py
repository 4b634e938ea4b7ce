"""Which limits count for a user, and who set each: the tier, an override, or the organisation. Pure.

Decides how limits are named to people; what they do to a request is decided in `limits.plan`, by the same rule: an
override takes the place of the tier's limit of its name.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from citadel_edge.accounts.entitlement import EMPTY, Entitlement, LimitSheet, LimitValues
from citadel_edge.config.limits import LIMIT_NAMES


class Source(StrEnum):
    """Who set a limit."""

    TIER = "tier"
    OVERRIDE = "override"
    ORGANISATION = "organisation"


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveLimit:
    """One limit, of the user or the organisation; `model` and `endpoint` are empty where it is for all requests."""

    name: str
    side: str
    model: str = ""
    endpoint: str = ""
    limit: float | None
    source: Source


def effective(entitled: Entitlement) -> tuple[EffectiveLimit, ...]:
    """The user's own, all six and what is said of single models and endpoints; then what the organisation shares."""
    return (
        *_of_side("user", entitled.tier, entitled.overrides, Source.TIER),
        *_of_side("organisation", entitled.organisation, EMPTY, Source.ORGANISATION),
    )


def _of_side(side: str, sheet: LimitSheet, over: LimitSheet, source: Source) -> Iterator[EffectiveLimit]:
    for name in LIMIT_NAMES:
        if side == "user" or sheet.values.get(name) is not None:
            found, by = _found(name, sheet.values, over.values, source)
            yield EffectiveLimit(name=name, side=side, limit=found, source=by)
    for model, name, found, by in _alone(sheet.by_model, over.by_model, source):
        yield EffectiveLimit(name=name, side=side, model=model, limit=found, source=by)
    for endpoint, name, found, by in _alone(sheet.by_endpoint, over.by_endpoint, source):
        yield EffectiveLimit(name=name, side=side, endpoint=endpoint, limit=found, source=by)


def _alone(
    sheets: Mapping[str, LimitValues], over: Mapping[str, LimitValues], source: Source
) -> Iterator[tuple[str, str, float | None, Source]]:
    for key in dict.fromkeys((*sheets, *over)):
        values, overrides = sheets.get(key, {}), over.get(key, {})
        for name in LIMIT_NAMES:
            if name in overrides or values.get(name) is not None:
                yield key, name, *_found(name, values, overrides, source)


def _found(name: str, values: LimitValues, over: LimitValues, source: Source) -> tuple[float | None, Source]:
    return (over[name], Source.OVERRIDE) if name in over else (values.get(name), source)
