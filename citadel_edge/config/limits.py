"""Limits as they are written down: on tiers, on users, on organisations. Values and their bounds; no I/O.

Decides how large a limit may be. An absent limit is no limit, 0 allows nothing. Refuses to know what they do.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field

from citadel_edge.config.fields import STRICT, number, seen, whole

MOST_UNITS: Final = 10**10
"""The largest limit on requests or tokens: with it, all that is counted stays exact in Redis's numbers too."""
MOST_USD: Final = 4_000_000
"""The same of dollars."""
MOST_SHEETS: Final = 100
"""So many models, and so many endpoints, may have limits of their own in one place."""
LIMIT_NAMES: Final = (
    "requests_per_minute",
    "tokens_per_minute",
    "concurrent",
    "tokens_per_day",
    "tokens_per_month",
    "usd_per_month",
)
_MODEL: Final = re.compile(r"[^\s/]\S{0,127}")
_ENDPOINT: Final = re.compile(r"/\S{0,127}")


def _units(value: Any) -> int:
    found = whole(value)
    if not 0 <= found <= MOST_UNITS:
        raise ValueError(f"expected a whole number from 0 to {MOST_UNITS}, got {seen(value)}")
    return found


def _dollars(value: Any) -> float:
    found = number(value)
    if not 0 <= found <= MOST_USD:
        raise ValueError(f"expected a number from 0 to {MOST_USD}, got {seen(value)}")
    return found


Units = Annotated[int, Field(ge=0, le=MOST_UNITS), BeforeValidator(_units)]
Dollars = Annotated[float, Field(ge=0, le=MOST_USD), BeforeValidator(_dollars)]


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsConfig:
    """Limits of some requests."""

    __pydantic_config__ = STRICT
    requests_per_minute: Units | None = None
    tokens_per_minute: Units | None = None
    concurrent: Units | None = None
    tokens_per_day: Units | None = None
    tokens_per_month: Units | None = None
    usd_per_month: Dollars | None = None


def _models(value: Any) -> Any:
    return _few(value, _MODEL, what="models", expected="the name of a model")


def _endpoints(value: Any) -> Any:
    return _few(value, _ENDPOINT, what="endpoints", expected="an endpoint's path as /v1/embeddings")


def _few(value: Any, form: re.Pattern[str], *, what: str, expected: str) -> Any:
    """A mapping with few names, each of its form; looked at before what it maps to. Raises `ValueError`."""
    if not isinstance(value, Mapping):
        return value
    if len(value) > MOST_SHEETS:
        raise ValueError(f"expected limits for at most {MOST_SHEETS} {what}, got {len(value)}")
    for name in value:
        if not isinstance(name, str) or not form.fullmatch(name):
            raise ValueError(f"expected {expected}, got {seen(name)}")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetConfig(LimitsConfig):
    """Limits of all requests, and besides them those of the requests of one model or endpoint alone."""

    __pydantic_config__ = STRICT
    by_model: Annotated[dict[str, LimitsConfig], BeforeValidator(_models)] = field(default_factory=dict)
    by_endpoint: Annotated[dict[str, LimitsConfig], BeforeValidator(_endpoints)] = field(default_factory=dict)
