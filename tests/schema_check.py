"""Whether a value is what a JSON Schema says, for those of its words that our documents use; others are an error."""

from collections.abc import Iterator
from typing import Any

TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}
SAYS_NOTHING = {"description", "default", "format", "required", "properties", "additionalProperties", "items"}
KNOWN = SAYS_NOTHING | {"type", "anyOf", "enum", "const", "minimum", "maximum", "minLength", "maxLength", "pattern"}


def flaws(value: Any, schema: dict[str, Any], path: str = "$") -> Iterator[str]:
    """Where a value is not what its schema says."""
    if unknown := schema.keys() - KNOWN:
        yield f"{path}: the checker does not know {unknown}"
    if "anyOf" in schema and all(list(flaws(value, each)) for each in schema["anyOf"]):
        yield f"{path}: none of {schema['anyOf']}: {value!r}"
    if "type" in schema and not _is(value, schema["type"]):
        yield f"{path}: no {schema['type']}: {value!r}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path}: none of {schema['enum']}: {value!r}"
    if "minimum" in schema and value < schema["minimum"]:
        yield f"{path}: below {schema['minimum']}"
    if isinstance(value, dict):
        yield from _object_flaws(value, schema, path)
    if isinstance(value, list) and "items" in schema:
        for number, item in enumerate(value):
            yield from flaws(item, schema["items"], f"{path}[{number}]")


def _object_flaws(value: dict[str, Any], schema: dict[str, Any], path: str) -> Iterator[str]:
    properties, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    for name in schema.get("required", []):
        if name not in value:
            yield f"{path}: lacks {name}"
    for name, item in value.items():
        if name in properties:
            yield from flaws(item, properties[name], f"{path}.{name}")
        elif others is False:
            yield f"{path}: has {name}"
        elif isinstance(others, dict):
            yield from flaws(item, others, f"{path}.{name}")


def _is(value: Any, kinds: str | list[str]) -> bool:
    wanted = [kinds] if isinstance(kinds, str) else kinds
    return any(isinstance(value, TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool)) for kind in wanted)
