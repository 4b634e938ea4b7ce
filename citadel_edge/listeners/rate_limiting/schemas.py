"""JSON Schemas of what the accounts' routes take and answer, made of the types that are read and written. Pure.

Decides nothing of its own: a field that comes or goes in a type comes or goes here.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import msgspec
from pydantic import TypeAdapter

from citadel_edge.accounts.api_keys import ApiKey
from citadel_edge.accounts.organisations import Organisation
from citadel_edge.accounts.sheets import SharedLimits
from citadel_edge.accounts.usage import FIELDS, By
from citadel_edge.config.limits import SheetConfig
from citadel_edge.config.shape import TierConfig

Schema = Mapping[str, Any]
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_VERSIONED: Final[Schema] = {
    "version": {"type": "integer"},
    "created_at": {"type": "string", "format": "date-time"},
    "updated_at": {"type": "string", "format": "date-time"},
}
_SUMS: Final[Schema] = {
    "requests": {**_COUNT, "description": "served ones; those that were denied are not among them"},
    "tokens_in": _COUNT,
    "tokens_out": _COUNT,
    "cost_usd": {"type": "number", "minimum": 0},
    "errors": {**_COUNT, "description": "of the requests, those that failed or were cut off"},
    "denied": {**_COUNT, "description": "requests that limits refused"},
}


@cache
def answered(shape: Any) -> Schema:
    """What is answered by this type."""
    return _plain(TypeAdapter(shape).json_schema(mode="serialization"))


@cache
def taken(shape: Any) -> Schema:
    """What is read into this type: other fields are refused."""
    return {**_plain(TypeAdapter(shape).json_schema()), "additionalProperties": False}


@cache
def bounded(shape: Any) -> Schema:
    """What is read into this type, whose fields bear msgspec's bounds: other fields are refused."""
    return {**_plain(msgspec.json.schema(shape)), "additionalProperties": False}


def listed(row: Schema) -> Schema:
    """A page of such rows."""
    return _object({"data": {"type": "array", "items": row}, "next": {"type": ["string", "null"]}})


def with_fields(schema: Schema, **fields: Schema) -> Schema:
    """A schema with other fields beside or instead of its own, all of them required."""
    properties = {**schema["properties"], **fields}
    return {**schema, "properties": properties, "required": list(properties)}


def made_key() -> Schema:
    """A key just made."""
    text = {"type": ["string", "null"], "description": "shown this once; a replay shows null"}
    return with_fields(answered(ApiKey), key=text)


def organisation(schema: Schema | None = None) -> Schema:
    """An organisation with the shape of its limits."""
    shape = answered(Organisation) if schema is None else schema
    return {**shape, "properties": {**shape["properties"], "limits": taken(SharedLimits)}}


def tier() -> Schema:
    """A tier: what the configuration takes, all of it, and its version."""
    return {**with_fields(taken(TierConfig), **_VERSIONED)}


def tier_patch() -> Schema:
    """Some fields of a tier but its name."""
    shape = taken(TierConfig)
    fields = {name: field for name, field in shape["properties"].items() if name != "name"}
    return {"type": "object", "properties": fields, "additionalProperties": False}


def overrides(shape: Schema) -> Schema:
    """A shape with overrides in it."""
    return {**shape, "properties": {**shape["properties"], "overrides": taken(SheetConfig)}}


def usage(owner: str, groups: tuple[By, ...]) -> Schema:
    """Sums: a row has those groups that were asked for."""
    row = _object(_SUMS)
    named = {FIELDS[by]: {"type": "string"} for by in groups}
    return _object(
        {
            owner: {"type": "string"},
            "from": {"type": "string", "format": "date-time"},
            "to": {"type": "string", "format": "date-time"},
            "time_zone": {"type": "string"},
            "by": {"type": "array", "items": {"enum": list(named)}},
            "data": {"type": "array", "items": {**row, "properties": {**named, **_SUMS}}},
            "totals": row,
            "next": {"type": ["string", "null"]},
        }
    )


def _object(properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _plain(schema: Schema) -> Schema:
    """Without titles, and with every reference replaced by what it means: it stands inside another document."""
    named = schema.get("$defs", {})

    def walk(value: Any, *, names: bool = False) -> Any:
        if isinstance(value, list):
            return [walk(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value and not names:
            meant = named[value["$ref"].rpartition("/")[2]]
            return walk({**meant, **{key: other for key, other in value.items() if key != "$ref"}})
        kept = value if names else {key: item for key, item in value.items() if key not in ("$defs", "title")}
        return {key: walk(item, names=not names and key == "properties") for key, item in kept.items()}

    plain: Schema = walk(schema)
    return plain
