"""Every leaf type with every sort of value, right and wrong, as a field, in a list and in a list of lists."""

from types import SimpleNamespace
from typing import Any

import pytest
from graphql import GraphQLSchema, build_schema, parse

from citadel_edge.graph.compiled.leaves import Leaf, leaf_of
from graph_data import RIGHT, WRONG
from graph_runs import Case
from graph_world import world_schema

TYPES = sorted(RIGHT)
FIELDS = "{ one sure list sures grid }"


@pytest.fixture(scope="module")
def schemas() -> dict[str, GraphQLSchema]:
    return {name: _schema(name) for name in TYPES}


def _schema(name: str) -> GraphQLSchema:
    """One type whose fields are of the leaf type `name`, which itself is that of the large schema."""
    world = world_schema()
    field_types = f"one: {name}, sure: {name}!, list: [{name}], sures: [{name}!], grid: [[{name}!]]"
    own = "" if name in ("String", "ID", "Int", "Float", "Boolean") else f"scalar {name}"
    schema = build_schema(f"{own} type Leaves {{ {field_types} }} type Query {{ leaves: Leaves, many: [Leaves] }}")
    leaf: Any = world.type_map["Plain"].fields["level"].type.of_type if name == "Level" else world.type_map[name]
    for field in schema.type_map["Leaves"].fields.values():
        wrapper = field.type
        while getattr(wrapper, "of_type", None) is not None and hasattr(wrapper.of_type, "of_type"):
            wrapper = wrapper.of_type
        if hasattr(wrapper, "of_type"):
            wrapper.of_type = leaf
        else:
            field.type = leaf
    schema.type_map[name] = leaf
    return schema


@pytest.mark.usefixtures("_coroutines_may_be_abandoned")
@pytest.mark.parametrize("source", [dict, SimpleNamespace])
@pytest.mark.parametrize("name", TYPES)
async def test_values_are_coerced_or_refused_as_the_executor_does(schemas: Any, name: str, source: Any) -> None:
    for value in [*RIGHT[name], *WRONG[name], None]:
        right = RIGHT[name][0]
        leaves = source(one=value, sure=value, list=[right, value], sures=(right, value), grid=[[right], [value], None])
        whole = source(one=right, sure=right, list=[value], sures=[right, right], grid=[[value]])
        root = {"leaves": leaves, "many": [whole, leaves]}
        case = Case(schemas[name], parse(f"{{ leaves {FIELDS} many {FIELDS} }}"), lambda root=root: root)
        assert await case.by_compiled(case.compiled(), {}) == await case.by_graphql_core({}), value


def test_a_scalar_that_only_bears_a_builtin_name_is_custom() -> None:
    named: Any = build_schema("scalar Text type Query { a: Text }").type_map["Text"]
    assert leaf_of(named) is Leaf.CUSTOM
