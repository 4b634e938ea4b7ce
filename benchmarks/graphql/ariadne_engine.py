"""Ariadne: the same schema and the same rows. It takes a parser and a validator; caches are for its user to write."""

from collections.abc import Mapping
from typing import Any

from ariadne import QueryType, graphql, make_executable_schema
from graphql import DocumentNode, GraphQLError, GraphQLSchema, parse, validate

from benchmarks.graphql.engines import Answer, Failed, root_resolvers
from benchmarks.graphql.questions import SDL


def engines() -> dict[str, Answer]:
    """With caches of parsed and of validated documents, and without."""
    schema = bound_schema()
    return {
        "Ariadne, cached": _answer(schema, **Caches().options()),
        "Ariadne, as it comes": _answer(schema),
    }


def bound_schema() -> GraphQLSchema:
    query = QueryType()
    for name, resolve in root_resolvers().items():
        query.set_field(name, resolve)
    return make_executable_schema(SDL, query)


class Caches:
    """Of parsed and of validated documents."""

    def __init__(self) -> None:
        self._documents: dict[str, DocumentNode] = {}
        self._mistakes: dict[int, list[GraphQLError]] = {}

    def options(self) -> dict[str, Any]:
        return {"query_parser": self.parsed, "query_validator": self.validated}

    def parsed(self, _context: Any, sent: Mapping[str, Any]) -> DocumentNode:
        text = sent["query"]
        if text not in self._documents:
            self._documents[text] = parse(text)
        return self._documents[text]

    def validated(self, schema: GraphQLSchema, document: DocumentNode, *args: Any, **kwargs: Any) -> list[GraphQLError]:
        """The documents are kept above, so that their ids are their own."""
        if id(document) not in self._mistakes:
            self._mistakes[id(document)] = validate(schema, document, *args, **kwargs)
        return self._mistakes[id(document)]


def _answer(schema: GraphQLSchema, **options: Any) -> Answer:
    async def answer(text: str, variables: Mapping[str, Any]) -> Any:
        done, result = await graphql(schema, {"query": text, "variables": dict(variables)}, **options)
        if not done or "errors" in result:
            raise Failed(result)
        return result["data"]

    return answer
