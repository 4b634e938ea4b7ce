"""Sheets of limits: what a client may store, and how what is stored becomes what a principal carries. Pure.

A sheet is an object `{"tokens_per_day": 5000, …, "by_model": {"<model>": {…}}, "by_endpoint": {"<endpoint>": {…}}}`,
an organisation's has `burst` besides. Decides which sheets may be stored; the bounds are the configuration's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, Final, TypeVar

import msgspec
from pydantic import TypeAdapter, ValidationError

from citadel_edge.accounts.entitlement import EMPTY, LimitSheet, LimitValues
from citadel_edge.config.catalogue import TierConfig
from citadel_edge.config.fields import STRICT, Fraction
from citadel_edge.config.limits import LIMIT_NAMES, LimitsConfig, SheetConfig
from citadel_edge.config.schema import suggestion
from citadel_edge.errors import Code, RequestError

T = TypeVar("T")
SHARED: Final = 2048
"""So many sheets are made once and shared by all who have the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedLimits(SheetConfig):
    """Limits that all users of an organisation share. `burst`: the part of a rate's limit that may come at once."""

    __pydantic_config__ = STRICT
    burst: Fraction | None = None


_OVERRIDES: Final = TypeAdapter(SheetConfig)
_SHARED_LIMITS: Final = TypeAdapter(SharedLimits)
_TIER: Final = TypeAdapter(TierConfig)


def checked_overrides(found: Mapping[str, Any], *, param: str = "overrides") -> str:
    """A user's overrides as they are stored. `RequestError` names the limit that is unknown or cannot be."""
    _checked(found, _OVERRIDES, SheetConfig, param=param)
    return msgspec.json.encode(found).decode()


def checked_shared(found: Mapping[str, Any], *, param: str = "limits") -> str:
    """An organisation's limits as they are stored. `RequestError` as above."""
    _checked(found, _SHARED_LIMITS, SharedLimits, param=param)
    return msgspec.json.encode(found).decode()


def checked_tier(found: Mapping[str, Any]) -> TierConfig:
    """A tier of these fields. `RequestError` names the field that is unknown, missing, or cannot be."""
    return _checked(found, _TIER, TierConfig)


def stored_sheets(sheets: Mapping[str, LimitsConfig]) -> dict[str, LimitValues]:
    """Limits by model or endpoint as they are stored and shown: without those that say nothing."""
    return {name: _set(sheet) for name, sheet in sheets.items()}


def sheet_of(stored: str | None) -> LimitSheet:
    """A sheet from its JSON; nothing is an empty one."""
    return EMPTY if stored is None or stored == "{}" else _sheet(stored)


def tier_sheet(row: Mapping[str, Any]) -> LimitSheet:
    """A tier's own limits, from a row with its columns."""
    values = tuple((name, row[name]) for name in LIMIT_NAMES if row[name] is not None)
    return _tier_sheet(values, row["by_model"], row["by_endpoint"])


@lru_cache(maxsize=SHARED)
def _sheet(stored: str) -> LimitSheet:
    found = msgspec.json.decode(stored)
    return LimitSheet(
        values=_values(found),
        by_model={model: _values(values) for model, values in found.get("by_model", {}).items()},
        by_endpoint={endpoint: _values(values) for endpoint, values in found.get("by_endpoint", {}).items()},
        burst=found.get("burst"),
    )


@lru_cache(maxsize=SHARED)
def _tier_sheet(values: tuple[tuple[str, float], ...], by_model: str, by_endpoint: str) -> LimitSheet:
    return LimitSheet(
        values=dict(values), by_model=msgspec.json.decode(by_model), by_endpoint=msgspec.json.decode(by_endpoint)
    )


def _values(found: Mapping[str, Any]) -> LimitValues:
    return {name: found[name] for name in LIMIT_NAMES if name in found}


def _set(sheet: LimitsConfig) -> LimitValues:
    return {name: value for name in LIMIT_NAMES if (value := getattr(sheet, name)) is not None}


def _checked(found: Mapping[str, Any], adapter: TypeAdapter[T], shape: type[T], *, param: str = "") -> T:
    known = tuple(field.name for field in fields(shape))  # type: ignore[arg-type]
    for name in found:
        if name not in known:
            raise _refused(f"unknown field; {suggestion(name, known)}", param, (name,))
    try:
        return adapter.validate_python(dict(found))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
    raise _refused(_sentence(first), param, first["loc"])


def _sentence(error: Any) -> str:
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if error["type"] == "unexpected_keyword_argument":
        return f"unknown limit; {suggestion(str(error['loc'][-1]), LIMIT_NAMES)}"
    return str(error["msg"])


def _refused(sentence: str, param: str, steps: tuple[int | str, ...]) -> RequestError:
    path = ".".join(str(step) for step in (param, *steps) if step != "")
    return RequestError(Code.INVALID_REQUEST, f"{sentence[:1].upper()}{sentence[1:].removesuffix('.')}.", param=path)
