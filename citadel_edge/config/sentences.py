"""pydantic's errors as sentences: what was expected, what stands there, what to do. Pure.

Decides the wording. Secrets and anything that might hold one are described (`a number`, `text`), never shown.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from citadel_edge.config.fields import seen
from citadel_edge.config.paths import Steps
from citadel_edge.config.schema import is_secret, known_keys, suggestion
from citadel_edge.config.shape import ListenerName
from citadel_edge.config.yaml_text import kind

MISSING = "is required; add it"
_BOUNDS: Mapping[str, tuple[str, str]] = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("of at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("of at most", "le"),
}
_MAPPINGS = ("dataclass_type", "dict_type")
_NAMES = ("string_pattern_mismatch", "string_too_short", "string_too_long")


def explain(error: ValidationError) -> list[tuple[Steps, str]]:
    """Every mistake once, in the order of the fields: where, and the sentence."""
    details = error.errors(include_url=False)
    bad_keys = {detail["loc"][:-1] for detail in details if detail["loc"][-1:] == ("[key]",)}
    return [
        (_steps(detail), _sentence(detail))
        for detail in details
        if detail["loc"][-1:] == ("[key]",) or not _is_below(detail["loc"], bad_keys)
    ]


def _is_below(steps: Steps, tops: set[Steps]) -> bool:
    return any(steps[:length] in tops for length in range(len(steps) + 1))


def _steps(detail: ErrorDetails) -> Steps:
    steps = detail["loc"]
    return steps[:-1] if steps[-1:] == ("[key]",) else steps


def _sentence(detail: ErrorDetails) -> str:
    kind_of_error, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    steps = _steps(detail)
    if detail["loc"][-1:] == ("[key]",):
        return f"unknown listener; {suggestion(str(steps[-1]), tuple(ListenerName))}"
    if kind_of_error == "missing":
        return MISSING
    if kind_of_error == "unexpected_keyword_argument":
        return f"unknown key; {suggestion(str(steps[-1]), known_keys(steps[:-1]))}"
    if kind_of_error == "value_error":
        return str(context["error"])
    if kind_of_error in ("enum", "literal_error"):
        return _choice(str(context["expected"]), value)
    if kind_of_error in _BOUNDS:
        words, bound = _BOUNDS[kind_of_error]
        return f"expected a number {words} {context[bound]:g}, got {seen(value)}"
    return _wrong_kind(kind_of_error, value, context, steps=steps)


def _choice(expected: str, value: Any) -> str:
    choices = tuple(choice.strip(" '") for choice in expected.replace(" or ", ", ").split(","))
    near = suggestion(value, choices) if isinstance(value, str) else ""
    return f"expected {expected}, got {seen(value)}" + (f"; {near}" if near.startswith("did") else "")


def _wrong_kind(kind_of_error: str, value: Any, context: Mapping[str, Any], *, steps: Steps) -> str:
    if kind_of_error in _MAPPINGS:
        return f"expected a mapping, got {kind(value)}"
    if kind_of_error == "tuple_type":
        return f"expected a list, got {kind(value)}"
    if kind_of_error == "too_short":
        return f"expected at least {context['min_length']} item, got an empty list; add one"
    if kind_of_error == "string_type":
        quotes = "" if isinstance(value, Mapping | list) or value is None else "; put it in quotes"
        return f"expected text, got {kind(value) if is_secret(steps) else seen(value)}{quotes}"
    if kind_of_error in _NAMES:
        return f"expected a name without {_forbidden(context)}, got {seen(value)}"
    if kind_of_error == "finite_number":
        return f"expected a finite number, got {seen(value)}"
    return f"expected something else than {kind(value)}"


def _forbidden(context: Mapping[str, Any]) -> str:
    if "pattern" not in context:
        return "more than 128 characters, and at least one"
    return "spaces that does not start with '/'" if r"\s" in context["pattern"] else "spaces, '/' and ':'"
