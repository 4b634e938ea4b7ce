"""The graph's own scalars: how their values come in and go out. Pure.

Decides that money and large counts are JSON numbers, as at the other doors. What comes in as something else is refused
in words.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from graphql import GraphQLError, ValueNode, value_from_ast_untyped

LARGEST: Final = 2**53 - 1
LONGEST_CURSOR: Final = 4096


@dataclass(frozen=True, slots=True)
class Scalar:
    """Both ways."""

    show: Callable[[Any], Any]
    read: Callable[[Any], Any]

    def read_literal(self, node: ValueNode, variables: dict[str, Any] | None = None) -> Any:
        """A value that stands in the document. A refusal says where."""
        try:
            return self.read(value_from_ast_untyped(node, variables))
        except GraphQLError as error:
            raise GraphQLError(error.message, node) from None


def show_moment(value: datetime | float | str) -> str:
    """A moment in UTC; a number is seconds since 1970."""
    if isinstance(value, str):
        return value
    moment = value if isinstance(value, datetime) else datetime.fromtimestamp(value, UTC)
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def read_moment(value: Any) -> datetime:
    """A moment with its offset."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment is not None and moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass  # said below
    raise GraphQLError("Expected a time with its offset, as 2026-11-01T00:00:00Z.")


def show_count(value: Any) -> int:
    """A whole number."""
    return int(value)


def read_count(value: Any) -> int:
    """A whole number, also written as 5.0."""
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    if isinstance(whole, int) and not isinstance(whole, bool) and 0 <= whole <= LARGEST:
        return whole
    raise GraphQLError(f"Expected a whole number from 0 to {LARGEST}.")


def show_usd(value: Decimal | float) -> float:
    """Dollars as a number."""
    return float(value)


def read_usd(value: Any) -> float:
    """A number."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST:
        return float(value)
    raise GraphQLError("Expected a number of US dollars.")


def same(value: Any) -> Any:
    """As it is."""
    return value


def read_cursor(value: Any) -> str:
    """A text."""
    if isinstance(value, str) and len(value) <= LONGEST_CURSOR:
        return value
    raise GraphQLError("Expected a cursor, as an answer or event named it.")


SCALARS: Final[Mapping[str, Scalar]] = {
    "DateTime": Scalar(show_moment, read_moment),
    "Count": Scalar(show_count, read_count),
    "USD": Scalar(show_usd, read_usd),
    "JSON": Scalar(same, same),
    "Cursor": Scalar(same, read_cursor),
}
