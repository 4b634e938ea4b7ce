"""What an answer came to: tables by hand, against what was estimated."""

import pytest
from graphql import OperationDefinitionNode, build_schema, parse

from citadel_edge.graph.cost_annotations import Estimate, Weights, annotations_of
from citadel_edge.graph.cost_plan import Planner
from graph.test_cost import ANNOTATIONS, MEASURED, PRICED


def answered(query, data, schema=PRICED, annotations=ANNOTATIONS, **variables):
    document = parse(query)
    operation = next(d for d in document.definitions if isinstance(d, OperationDefinitionNode))
    walk = Planner(schema, annotations, document).price(operation).answered(data, variables)
    turns = 0
    while True:
        try:
            next(walk)
            turns += 1
        except StopIteration as done:
            return done.value, turns


def came_to(query, data, **variables):
    return answered(query, data, **variables)[0]


ONE = {"id": "1"}
TABLE = [
    ("{ leaf dear }", {"leaf": 1, "dear": None}, 12),
    ("{ assumed { id } }", {"assumed": []}, 0),
    ("{ assumed { id } }", {"assumed": [ONE] * 5}, 15),
    ("{ assumed { id } }", {"assumed": [ONE, None, ONE]}, 6),
    ("{ assumed { things { id } } }", {"assumed": [{"things": []}, {"things": [ONE]}]}, 2 + 2 + 3),
    ("{ a: thing { id } b: thing { id } }", {"a": ONE, "b": None}, 3),
    ("{ pages(first: 9) { edges { cursor node { id } } total } }", {"pages": {"edges": [], "total": 0}}, 3),
    (
        "{ pages(first: 9) { edges { cursor node { id } } nodes { id } } }",
        {"pages": {"edges": [{"cursor": "x", "node": ONE}], "nodes": [ONE]}},
        2 + (2 + 1 + 3) + 3,
    ),
    ('{ find(text: "x", filter: {like: "y", and: [{like: "z"}]}) { id } }', {"find": None}, 8 + 10),
    ("{ assumed { ...f } } fragment f on Thing { id ...g } fragment g on Thing { name }", {"assumed": [{}]}, 4),
    ("{ any { __typename ... on Heavy { name } } }", {"any": {"__typename": "Thing"}}, 2),
    ("{ any { __typename ... on Heavy { name } } }", {"any": {"__typename": "Heavy", "name": "x"}}, 51),
    ("{ node { ... on Thing { things { id } } ... on Heavy { id } } }", {"node": {"things": [ONE]}}, 5),
    ('{ __type(name: "Thing") { name } assumed { id } }', {"__type": {"name": "Thing"}, "assumed": []}, 1),
]


@pytest.mark.parametrize(("query", "data", "cost"), TABLE)
def test_an_answer_costs_what_is_in_it(query, data, cost):
    assert came_to(query, data) == cost


@pytest.mark.parametrize("on", [True, False])
def test_what_a_condition_left_out_costs_nothing(on):
    query = "query ($on: Boolean!) { leaf @include(if: $on) plain @include(if: $on) { id } dear }"
    data = {"dear": 1, **({"leaf": 1, "plain": [ONE]} if on else {})}
    assert came_to(query, data, on=on) == 11 + (4 if on else 0)


def test_of_a_measured_list_so_many_count_as_one():
    def measure(_):
        return Estimate(length=50, work=100.0, share=10)

    annotations = annotations_of(MEASURED, Weights(), {"Query.report": measure})
    query = "{ report(days: 3) { rows { sum } } }"
    for rows, units in ((0, 0), (8, 1), (10, 1), (11, 2)):
        data = {"report": {"rows": [{"sum": 1}] * rows}}
        assert answered(query, data, MEASURED, annotations)[0] == 100 + 5 + 2 + units * (2 + 1)


def test_a_large_answer_is_counted_in_turns():
    query = "{ plain { thing { id } } }"
    cost, turns = answered(query, {"plain": [{"thing": ONE}] * 5_000})
    assert (cost, turns) == (5_000 * (2 + 3), 10)


def test_lists_within_lists_are_counted_whole():
    schema = build_schema("type Query { grid: [[Cell]] } type Cell { x: Int }")
    data = {"grid": [[{"x": 1}, None], None, [{"x": 2}]]}
    assert answered("{ grid { x } }", data, schema, annotations_of(schema, Weights()))[0] == 2 * 3
