"""Joins the contract with what answers it, and finds every gap between the two.

Decides how a field is read where nobody says otherwise: from its source's attribute (or key) of the same name in small
letters with underscores. Enums' values are their names in small letters inside, arguments have Python's spelling. A
field with `@needs` is guarded, whoever resolves it. Refuses to know what any field means.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from operator import attrgetter
from typing import Any, Final

import msgspec
from graphql import (
    EnumValueNode,
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    default_field_resolver,
)

from citadel_edge.accounts.principal import Role
from citadel_edge.listeners.graphql.scalars import SCALARS

Resolver = Callable[..., Any]
Reads = Mapping[str, str | Resolver]
READS: Final = "reads"
"""In a field's extensions: the attribute (or, of a mapping, the key) that it is read from without a resolver."""
_OUT_NAMES: Final = {"input": "given", "filter": "wanted", "id": "identity"}
_WORD: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Type:
    """How the fields of a type are read.

    Attributes:
        source: the class of what is shown, whose attributes the fields must have; Mapping where it is one.
        reads: fields that are read otherwise: from another attribute, or by a resolver.
    """

    source: Any
    reads: Reads = field(default_factory=dict)


def snake(name: str) -> str:
    """`costUsd` as `cost_usd`; `latencyP50Ms` as `latency_p50_ms`."""
    return _WORD.sub("_", name).lower()


def bind(
    schema: GraphQLSchema, types: Mapping[str, Type], *, roots: Mapping[str, Mapping[str, Resolver]], live: Reads
) -> list[str]:
    """Attach everything to the schema. Answers every gap; with any the schema is of no use.

    Args:
        schema: from the contract.
        types: by name, all but the roots.
        roots: resolvers of Query and Mutation.
        live: of each field of Subscription what makes its events.
    """
    gaps = list(_unbound(schema, types, roots, live))
    for name, kind in schema.type_map.items():
        if isinstance(kind, GraphQLEnumType) and not name.startswith("__"):
            _bind_enum(kind)
        elif isinstance(kind, GraphQLInputObjectType):
            _spell(kind.fields)
        elif isinstance(kind, GraphQLScalarType) and name in SCALARS:
            _bind_scalar(kind)
        elif isinstance(kind, GraphQLObjectType) and name in types:
            gaps += _bind_type(kind, types[name])
    for name, resolvers in roots.items():
        gaps += _bind_root(schema, name, resolvers)
    gaps += _bind_live(schema, live)
    for kind in schema.type_map.values():
        if isinstance(kind, GraphQLObjectType) and not kind.name.startswith("__"):
            _guard(kind)
    return gaps


def _unbound(schema: GraphQLSchema, types: Mapping[str, Type], *rooted: Any) -> Iterator[str]:
    objects = {
        name
        for name, kind in schema.type_map.items()
        if isinstance(kind, GraphQLObjectType) and not name.startswith("__")
    }
    known = set(types) | set(rooted[0]) | {"Subscription"}
    yield from (f"{name}: nothing answers this type" for name in sorted(objects - known))
    yield from (f"{name}: there is no such type" for name in sorted(known - objects))
    scalars = {name for name, kind in schema.type_map.items() if isinstance(kind, GraphQLScalarType)}
    yield from (f"{name}: there is no such scalar" for name in sorted(SCALARS.keys() - scalars))


def _bind_type(kind: GraphQLObjectType, bound: Type) -> Iterator[str]:
    for name in sorted(bound.reads.keys() - kind.fields.keys()):
        yield f"{kind.name}.{name}: there is no such field"
    has = _attributes(bound.source)
    for name, each in kind.fields.items():
        _spell(each.args)
        reads = bound.reads.get(name, snake(name))
        if not isinstance(reads, str):
            each.resolve = reads
            continue
        if has is not None and reads.partition(".")[0] not in has:
            yield f"{kind.name}.{name}: {bound.source.__name__} has no {reads}, and nothing resolves it"
        each.extensions = {**each.extensions, READS: reads}
        if reads != name:  # else graphql-core's own way leads there
            each.resolve = _key(reads) if has is None else _attribute(reads)


def _bind_root(schema: GraphQLSchema, name: str, resolvers: Mapping[str, Resolver]) -> Iterator[str]:
    kind = schema.get_type(name)
    found = kind.fields if isinstance(kind, GraphQLObjectType) else {}
    yield from (f"{name}.{one}: fields and resolvers do not match" for one in sorted(found.keys() ^ resolvers.keys()))
    for one in found.keys() & resolvers.keys():
        _spell(found[one].args)
        found[one].resolve = resolvers[one]


def _bind_live(schema: GraphQLSchema, live: Reads) -> Iterator[str]:
    found = schema.subscription_type.fields if schema.subscription_type else {}
    yield from (f"Subscription.{one}: fields and resolvers do not match" for one in sorted(found.keys() ^ live.keys()))
    for one in found.keys() & live.keys():
        _spell(found[one].args)
        found[one].subscribe = live[one]
        found[one].resolve = event_itself


def event_itself(event: Any, _info: Any, **_args: Any) -> Any:
    """What a subscription's generator yields is the field's value."""
    return event


def _attributes(source: Any) -> frozenset[str] | None:
    """What there is to read of a class; None of a mapping, whose keys nobody knows."""
    if source is Mapping:
        return None
    own = frozenset(name for name in dir(source) if not name.startswith("_"))
    if is_dataclass(source):
        return own | {each.name for each in fields(source)}
    return own | set(source.__struct_fields__) if issubclass(source, msgspec.Struct) else own


def _attribute(name: str) -> Resolver:
    read = attrgetter(name)

    def resolve(source: Any, _info: Any) -> Any:
        return read(source)

    return resolve


def _key(name: str) -> Resolver:
    def resolve(source: Mapping[str, Any], _info: Any) -> Any:
        return source.get(name)

    return resolve


def _spell(named: Mapping[str, Any]) -> None:
    for name, each in named.items():
        inside = _OUT_NAMES.get(name, snake(name)) if isinstance(each, GraphQLArgument) else snake(name)
        each.out_name = inside


def _bind_enum(kind: GraphQLEnumType) -> None:
    for name, value in kind.values.items():
        value.value = name.lower()


def _bind_scalar(kind: GraphQLScalarType) -> None:
    scalar = SCALARS[kind.name]
    kind.serialize = kind.coerce_output_value = scalar.show  # type: ignore[assignment,method-assign]
    kind.parse_value = kind.coerce_input_value = scalar.read  # type: ignore[assignment,method-assign]
    kind.parse_literal = scalar.read_literal  # type: ignore[method-assign]


def _guard(kind: GraphQLObjectType) -> None:
    for each in kind.fields.values():
        role = needed_role(each)
        if role is not None:
            each.resolve = _guarded(each.resolve or default_field_resolver, role)
            each.subscribe = each.subscribe and _guarded(each.subscribe, role)


def _guarded(resolve: Resolver, role: Role) -> Resolver:
    def guard(source: Any, info: Any, **args: Any) -> Any:
        info.context.demand(role)
        return resolve(source, info, **args)

    return guard


def needed_role(each: GraphQLField) -> Role | None:
    """The weakest role that may read a field, by its `@needs`; None is anybody's."""
    for directive in (each.ast_node.directives or ()) if each.ast_node else ():
        for argument in directive.arguments or ():
            if directive.name.value == "needs" and isinstance(argument.value, EnumValueNode):
                return Role(argument.value.value.lower())
    return None
