"""The contract: described, conventional, and joined with what answers it without a gap."""

import pytest
from graphql import (
    GraphQLInputObjectType,
    GraphQLObjectType,
    GraphQLScalarType,
    build_client_schema,
    build_schema,
    get_named_type,
    introspection_from_schema,
    is_nullable_type,
    is_specified_directive,
    is_specified_scalar_type,
    print_ast,
    print_schema,
)

from citadel_edge.errors import Code, StartError
from citadel_edge.fleet.breaker import BreakerState
from citadel_edge.listeners.graphql.binding import snake
from citadel_edge.listeners.graphql.scalars import SCALARS
from citadel_edge.listeners.graphql.schema import load_schema, read_schema
from graphs import enums, objects


@pytest.fixture(scope="module")
def schema():
    return load_schema(read_schema())


def own_types(schema):
    return [kind for name, kind in schema.type_map.items() if not name.startswith("__")]


def test_everything_is_described(schema):
    for kind in own_types(schema):
        if is_specified_scalar_type(kind):
            continue
        assert kind.description, kind.name
        for name, each in getattr(kind, "fields", {}).items():
            assert each.description, f"{kind.name}.{name}"
            for argument, given in getattr(each, "args", {}).items():
                assert given.description, f"{kind.name}.{name}({argument})"
    for kind in enums(schema):
        for name, value in kind.values.items():
            assert value.description, f"{kind.name}.{name}"
    for directive in schema.directives:
        assert directive.description, directive.name
        if not is_specified_directive(directive):
            assert all(given.description for given in directive.args.values()), directive.name


def test_what_clients_are_told_of_the_schema_is_what_stands_in_the_contract(schema):
    told = build_client_schema(introspection_from_schema(schema))
    written = build_client_schema(introspection_from_schema(build_schema(read_schema())))
    assert print_schema(told) == print_schema(written)


def test_every_scalar_of_ours_says_where_it_is_specified(schema):
    own = {kind.name for kind in own_types(schema) if isinstance(kind, GraphQLScalarType)}
    assert {name for name in own if schema.type_map[name].specified_by_url} == set(SCALARS)


def test_every_list_of_nodes_is_a_connection_of_bounded_length(schema):
    for kind in objects(schema):
        for name, each in kind.fields.items():
            if not get_named_type(each.type).name.endswith("Connection"):
                continue
            assert print_ast(each.args["first"].ast_node).endswith("first: Int = 20"), f"{kind.name}.{name}"
            assert str(each.args["after"].type) == "Cursor", f"{kind.name}.{name}"
            assert is_nullable_type(each.type), f"{kind.name}.{name}: a wrong page would take what stands beside it"
            named = {directive.name.value for directive in each.ast_node.directives}
            assert "listSize" in named, f"{kind.name}.{name}"


def test_a_list_of_objects_says_how_long_it_is_taken_to_be(schema):
    for kind in objects(schema):
        if kind.name.endswith("Connection"):
            continue
        for name, each in kind.fields.items():
            if "[" not in str(each.type) or not isinstance(get_named_type(each.type), GraphQLObjectType):
                continue
            named = {directive.name.value for directive in each.ast_node.directives}
            assert "listSize" in named, f"{kind.name}.{name}"


def test_a_mutation_has_one_input_and_a_payload_with_errors(schema):
    for name, each in schema.mutation_type.fields.items():
        assert list(each.args) == ["input"], name
        assert isinstance(get_named_type(each.args["input"].type), GraphQLInputObjectType)
        payload = get_named_type(each.type)
        assert payload.name == f"{name[0].upper()}{name[1:]}Payload"
        assert str(payload.fields["errors"].type) == "[UserError!]!"


def test_enums_are_in_capitals_and_mean_the_values_inside(schema):
    for kind in enums(schema):
        assert all(name == name.upper() for name in kind.values), kind.name
        assert all(value.value == name.lower() for name, value in kind.values.items())
    assert schema.type_map["BreakerState"].serialize(BreakerState.HALF_OPEN) == "HALF_OPEN"


def test_every_code_of_an_error_is_in_the_contract(schema):
    known = {value.value for value in schema.type_map["ErrorCode"].values.values()}
    assert known == {code.text for code in Code}


@pytest.mark.parametrize(
    ("added", "words"),
    [
        ('extend type Query { "X" orphan: Int }', "Query.orphan"),
        ('extend type Mutation { "X" orphan: Int }', "Mutation.orphan"),
        ('extend type Subscription { "X" orphan: Int }', "Subscription.orphan"),
        ('extend type User { "X" orphan: Int }', "User.orphan: User has no orphan"),
        ('"X" type Orphan { "X" x: Int } extend type Query { "X" viewer2: Orphan }', "Orphan: nothing answers"),
    ],
)
def test_a_field_that_nothing_answers_refuses_to_start(added, words):
    with pytest.raises(StartError, match=words):
        load_schema(f"{read_schema()}\n{added}")


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        ("  plainId: String!\n", "plainId: there is no such field"),
        ("scalar Count ", "there is no such scalar"),
        ("  viewer: Viewer!\n", "Query.viewer: fields and resolvers do not match"),
    ],
)
def test_what_answers_no_field_refuses_to_start(gone, words):
    text = read_schema().replace(gone, "scalar Tally " if gone.startswith("scalar") else "  dummy: String\n")
    text = text.replace("Count!", "Tally!").replace(": Count", ": Tally") if gone.startswith("scalar") else text
    with pytest.raises(StartError, match=words):
        load_schema(text)


def test_a_schema_that_is_none_refuses_to_start():
    with pytest.raises(StartError, match="Query root type must be provided"):
        load_schema("type Something { x: Int }")


def test_names_are_spelled_for_python_and_back():
    assert [snake(name) for name in ("costUsd", "latencyP50Ms", "id", "onRedisDown")] == [
        "cost_usd",
        "latency_p50_ms",
        "id",
        "on_redis_down",
    ]
    built = build_schema("type Query { x(id: ID): Int }")
    assert built.query_type.fields["x"].args["id"].out_name is None
