"""A document's text becomes operations that may run, or the reasons why not: within bounds, parsed, valid, priced.

What it costs in time is bounded by the text's length: some 30 µs of CPU a token at worst. Refuses to know where and
when it happens, and keeps nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from graphql import DocumentNode, GraphQLError, GraphQLSchema, parse, validate

from citadel_edge.errors import Code
from citadel_edge.graph.answers import MAX_MESSAGE
from citadel_edge.graph.bounds import Bounds, objection, objection_to_text
from citadel_edge.graph.cost_annotations import Annotations
from citadel_edge.graph.operations import Operation, operations_of

MAX_ERRORS: Final = 5
BYTES_A_TOKEN: Final = 1_000
BYTES_AN_ERROR: Final = 1_000
CODE: Final = Code.INVALID_REQUEST.text


@dataclass(frozen=True, slots=True)
class Document:
    """A valid document's operations by name. `size` is about how many bytes it holds."""

    text: str
    operations: Mapping[str | None, Operation]
    size: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """Why a document will not run, formatted for the client."""

    errors: Sequence[Mapping[str, Any]]
    size: int


class Reader:
    """Reads documents against one schema; any thread may."""

    def __init__(
        self, schema: GraphQLSchema, annotations: Annotations, bounds: Bounds, *, hide_suggestions: bool = False
    ) -> None:
        self._schema = schema
        self._annotations = annotations
        self._bounds = bounds
        self._hide_suggestions = hide_suggestions

    def read(self, text: str) -> Document | Rejected:
        """A stranger's document."""
        refused = objection_to_text(text, self._bounds)
        if refused is not None:
            return _objected(refused)
        try:
            document = parse(text, max_lexical_tokens=self._bounds.tokens)
        except GraphQLError as error:
            return _rejected(text, [error])
        refused = objection(document, self._bounds)
        return self._validated(text, document) if refused is None else _objected(refused)

    def read_trusted(self, text: str) -> Document | Rejected:
        """The operator's own document: as long and as deep as it likes."""
        try:
            document = parse(text)
        except GraphQLError as error:
            return _rejected(text, [error])
        return self._validated(text, document)

    def _validated(self, text: str, document: DocumentNode) -> Document | Rejected:
        errors = validate(self._schema, document, max_errors=MAX_ERRORS, hide_suggestions=self._hide_suggestions)
        if errors:
            return _rejected(text, errors)
        operations = operations_of(document, self._schema, self._annotations)
        return Document(text, operations, BYTES_A_TOKEN * _tokens(document) + len(text))


def shown(error: GraphQLError, **more: Any) -> dict[str, Any]:
    """An error about the request itself, in graphql-core's words. `more` goes into its extensions."""
    formatted: dict[str, Any] = {**error.formatted, "extensions": {"code": CODE, **more}}
    formatted["message"] = formatted["message"][:MAX_MESSAGE]
    return formatted


def _rejected(text: str, errors: Sequence[GraphQLError]) -> Rejected:
    return Rejected([shown(error) for error in errors], len(text) + BYTES_AN_ERROR * len(errors))


def _objected(message: str) -> Rejected:
    return Rejected([{"message": message, "extensions": {"code": CODE}}], BYTES_AN_ERROR)


def _tokens(document: DocumentNode) -> int:
    token, count = document.loc.start_token if document.loc else None, 0
    while token is not None:
        token, count = token.next, count + 1
    return count
