"""A NUL is text to everybody but PostgreSQL: wherever a client puts one, the fault is the client's, never ours."""

import asyncio
import itertools
import re

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLList,
    build_schema,
    get_named_type,
    get_nullable_type,
    is_composite_type,
    is_required_argument,
)

from citadel_edge.config.shape import ListenerName
from citadel_edge.listeners.graphql.resolvers.ids import global_id
from citadel_edge.listeners.graphql.schema import read_schema

DESCRIBED = (ListenerName.STREAMING, ListenerName.ROUTING, ListenerName.RATE_LIMITING)
NUL = "a\0b"
PLAIN = {"Int": 1, "Float": 1.0, "Boolean": True, "DateTime": "2026-01-01T00:00:00Z"}


def filled(schema, text, *, only=None):
    """A value of a JSON Schema, with this text wherever there may be one; `only` the required properties and this."""
    if "anyOf" in schema:
        return filled(schema["anyOf"][0], text)
    kind = schema["type"][0] if isinstance(schema.get("type"), list) else schema.get("type")
    if "enum" in schema:
        return schema["enum"][0]
    if kind == "object":
        wanted = schema.get("properties", {})
        if only is not None:
            wanted = {name: wanted[name] for name in (*schema.get("required", ()), only)}
        return {name: filled(each, text if only in {None, name} else "x") for name, each in wanted.items()}
    if kind == "array":
        return [filled(schema.get("items", {}), text)]
    return {"integer": 1, "number": 1.0, "boolean": True}.get(kind, text)


def requests_of(document):
    """Every operation with a NUL in its path, in each word of its query, and in each value of its body."""
    for path, methods in document["paths"].items():
        plain, nul = (re.sub(r"{[^}]*}", text, path) for text in ("x", "a%00b"))
        for method, operation in methods.items():
            if nul != plain:
                yield method, nul, None, None
            for each in operation.get("parameters", ()):
                if each["in"] == "query":
                    yield method, plain, {each["name"]: NUL}, None
            for content in operation.get("requestBody", {}).get("content", {}).values():
                schema = content["schema"]
                yield method, nul, None, filled(schema, "x")
                yield method, plain, None, filled(schema, NUL)
                for name in schema.get("properties", ()):
                    yield method, plain, None, filled(schema, NUL, only=name)


@pytest.mark.usefixtures("full_speed")
async def test_no_door_takes_a_nul_for_a_fault_of_its_own(edge_with):
    async with edge_with(options=()) as served:
        asked = 0
        for door in DESCRIBED:
            async with served.client.get(served.url("/openapi.json", door)) as answer:
                document = await answer.json()
            for method, path, query, body in requests_of(document):
                asked += 1
                async with served.client.request(
                    method, served.url(path, door), params=query, json=body, headers=served.as_admin()
                ) as answer:
                    assert answer.status != 500, (door, method, path, query, body)
        assert asked > 100


def value(type_, text):
    """A value of an input type, with this text wherever there may be one."""
    bare, named = get_nullable_type(type_), get_named_type(type_)
    if isinstance(bare, GraphQLList):
        return [value(bare.of_type, text)]
    if isinstance(named, GraphQLEnumType):
        return next(iter(named.values))
    if isinstance(named, GraphQLInputObjectType):
        wanted = {
            name: each for name, each in named.fields.items() if not named.is_one_of or name == next(iter(named.fields))
        }
        return {name: value(each.type, text) for name, each in wanted.items()}
    return PLAIN.get(named.name, text)


def asked_of(kind, root):
    """Each field of a root with text in all of its arguments, and in each alone."""
    for name, field in root.fields.items():
        texts = (NUL, global_id("Tier", NUL))
        required = {each for each, argument in field.args.items() if is_required_argument(argument)}
        for text, chosen in itertools.product(texts, [set(field.args), *({each} for each in field.args)]):
            given = {each: field.args[each] for each in field.args if each in required | chosen}
            if not given:
                continue
            declared = ", ".join(f"${each}: {argument.type}" for each, argument in given.items())
            passed = ", ".join(f"{each}: ${each}" for each in given)
            below = "{ __typename }" if is_composite_type(get_named_type(field.type)) else ""
            variables = {each: value(argument.type, text) for each, argument in given.items()}
            yield f"{kind} ({declared}) {{ {name}({passed}) {below} }}", variables


@pytest.mark.usefixtures("full_speed")
async def test_the_graph_takes_no_nul_for_a_fault_of_its_own(edge_with):
    schema = build_schema(await asyncio.to_thread(read_schema))
    async with edge_with(options=()) as served:
        for kind, root in (("query", schema.query_type), ("mutation", schema.mutation_type)):
            for query, variables in asked_of(kind, root):
                async with served.client.post(
                    served.url("/graphql", ListenerName.GRAPHQL),
                    json={"query": query, "variables": variables},
                    headers=served.as_admin(),
                ) as answer:
                    body = await answer.json(content_type=None)
                codes = [error["extensions"]["code"] for error in body.get("errors", ())]
                assert "internal" not in codes, (query, body)
                if variables == {"name": NUL} and " tier(" in query:
                    assert codes == ["invalid_request"]
