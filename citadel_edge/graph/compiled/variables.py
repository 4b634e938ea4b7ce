"""The variables of an operation, with what no request changes worked out beforehand."""

from collections.abc import Collection, Mapping
from typing import Any

from graphql import (
    GraphQLError,
    GraphQLSchema,
    Undefined,
    VariableDefinitionNode,
    get_nullable_type,
    get_variable_values,
    is_leaf_type,
    is_non_null_type,
)
from graphql.execution.get_variable_signature import GraphQLVariableSignature, get_variable_signature
from graphql.execution.values import VariableValues, VariableValueSource, input_is_nested_too_deeply
from graphql.utilities.coerce_input_value import coerce_default_value, coerce_input_value

from citadel_edge.graph.bounds import MAX_COERCION_ERRORS


class Variables:
    """The variables that an operation defines."""

    def __init__(
        self, schema: GraphQLSchema, definitions: Collection[VariableDefinitionNode], *, hide_suggestions: bool
    ) -> None:
        self._schema = schema
        self._definitions = definitions
        self._hide_suggestions = hide_suggestions
        signatures = [get_variable_signature(schema, definition) for definition in definitions]
        self._signatures = [one for one in signatures if isinstance(one, GraphQLVariableSignature)]
        self._sound = len(self._signatures) == len(signatures)

    def coerced(self, raw: Mapping[str, Any] | None) -> VariableValues | list[GraphQLError]:
        """The values that resolvers see, or what is wrong with those that were sent, in graphql-core's words."""
        given = raw or {}
        found = self._quickly(given) if self._sound else None
        if found is not None:
            return found
        return get_variable_values(
            self._schema, self._definitions, dict(given), MAX_COERCION_ERRORS, hide_suggestions=self._hide_suggestions
        )

    def _quickly(self, given: Mapping[str, Any]) -> VariableValues | None:
        """None as soon as a value is not simply right."""
        sources: dict[str, VariableValueSource] = {}
        coerced: dict[str, Any] = {}
        for signature in self._signatures:
            name = signature.name
            value = given.get(name, Undefined)
            sources[name] = VariableValueSource(signature, value)
            if value is Undefined and signature.default is None and not is_non_null_type(signature.type):
                continue
            inner = _default(signature) if value is Undefined else _coerced(signature, value)
            if inner is Undefined:
                return None
            coerced[name] = inner
        return VariableValues(sources, coerced)


def _coerced(signature: GraphQLVariableSignature, value: Any) -> Any:
    if input_is_nested_too_deeply(value, signature.type):
        return Undefined
    return coerce_input_value(value, signature.type)


def _default(signature: GraphQLVariableSignature) -> Any:
    """Undefined when there is none, or when it is not the same to everyone: lists and objects are made anew."""
    if signature.default is None or not is_leaf_type(get_nullable_type(signature.type)):
        return Undefined
    try:
        return coerce_default_value(signature)
    except TypeError:  # not a value of the type: get_variable_values has the words for it
        return Undefined
