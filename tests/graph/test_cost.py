"""What an operation costs: tables by hand for each directive, and no way to make the pricing itself dear."""

import pytest
from graphql import OperationDefinitionNode, build_schema, execute, get_introspection_query, parse

from citadel_edge.errors import StartError
from citadel_edge.graph.cost_annotations import Estimate, Weights, annotations_of
from citadel_edge.graph.cost_collect import Collector, CostObjection
from citadel_edge.graph.cost_introspection import FULLEST
from citadel_edge.graph.cost_plan import Planner
from graph.work import counted

DIRECTIVES = """
directive @cost(weight: String!) on
  ARGUMENT_DEFINITION | ENUM | FIELD_DEFINITION | INPUT_FIELD_DEFINITION | OBJECT | SCALAR
directive @listSize(
  assumedSize: Int, slicingArguments: [String!], sizedFields: [String!], requireOneSlicingArgument: Boolean = true
) on FIELD_DEFINITION
"""
PRICED = build_schema(
    DIRECTIVES
    + """
type Query {
  leaf: Int
  leaves: [Int!]!
  dear: Int @cost(weight: "10")
  cheap: Int @cost(weight: "-1")
  thing: Thing
  heavy: Heavy
  plain: [Thing!]!
  assumed: [Thing!]! @listSize(assumedSize: 3)
  names(first: Int): [String!]! @listSize(slicingArguments: ["first"])
  sliced(first: Int, last: Int): [Thing!]! @listSize(slicingArguments: ["first", "last"])
  byDefault(first: Int = 4): [Thing!]! @listSize(slicingArguments: ["first"])
  either(first: Int): [Thing!]! @listSize(assumedSize: 6, slicingArguments: ["first"], requireOneSlicingArgument: false)
  most(first: Int, last: Int): [Thing!]!
    @listSize(slicingArguments: ["first", "last"], requireOneSlicingArgument: false)
  nested(page: Page): [Thing!]! @listSize(slicingArguments: ["page.first"])
  pages(first: Int): Pages! @listSize(slicingArguments: ["first"], sizedFields: ["edges", "nodes"])
  find(text: String @cost(weight: "8"), filter: Filter): Thing
  any: Any
  node: Node
}
input Page { first: Int, after: String }
input Filter { like: String @cost(weight: "5"), and: [Filter!], plain: Int }
type Pages { edges: [Edge!]!, nodes: [Thing!]!, total: Int! }
type Edge { cursor: String!, node: Thing! }
interface Node { id: ID! }
type Thing implements Node {
  id: ID!, name: String, size: Size, thing: Thing, things: [Thing!]! @listSize(assumedSize: 2)
}
type Heavy implements Node @cost(weight: "50") { id: ID!, name: String, thing: Thing }
scalar Size @cost(weight: "7")
union Any = Thing | Heavy
"""
)
ANNOTATIONS = annotations_of(PRICED, Weights())


def price_of(query, **variables):
    document = parse(query)
    operation = next(d for d in document.definitions if isinstance(d, OperationDefinitionNode))
    return Planner(PRICED, ANNOTATIONS, document).price(operation).of(variables)


TABLE = [
    ("{ __typename }", 0),
    ('{ __type(name: "Thing") { name } }', 1),
    ('{ __type(name: "Thing") { name } leaf }', 2),
    ('{ __type(name: "Nothing") { name } }', 1),
    ("{ leaf }", 1),
    ("{ leaves }", 1),
    ("{ dear }", 11),
    ("{ leaf cheap }", 1),
    ("{ cheap }", 0),
    ("{ thing { id } }", 3),
    ("{ thing { id size } }", 10),
    ("{ heavy { id } }", 51),
    ("{ plain { id } }", 30),
    ("{ assumed { id } }", 9),
    ("{ assumed { things { id } } }", 3 * (2 + 2 * 3)),
    ("{ names(first: 5) }", 5),
    ("{ sliced(first: 5) { id } }", 15),
    ("{ sliced(last: 2) { id } }", 6),
    ("{ sliced(first: 0) { id } }", 0),
    ("{ sliced(first: -5) { id } }", 0),
    ("{ byDefault { id } }", 12),
    ("{ byDefault(first: 1) { id } }", 3),
    ("{ either { id } }", 18),
    ("{ either(first: 2) { id } }", 6),
    ("{ most(first: 2, last: 5) { id } }", 15),
    ("{ most { id } }", 30),
    ("{ nested(page: {first: 3}) { id } }", 9),
    ("{ pages(first: 4) { total } }", 3),
    ("{ pages(first: 4) { edges { node { id } } } }", 2 + 4 * (2 + 3)),
    ("{ pages(first: 4) { nodes { id } edges { cursor } } }", 2 + 4 * 3 + 4 * 3),
    ('{ find(text: "x") { id } }', 11),
    ('{ find(filter: {like: "x", and: [{like: "y"}, {plain: 1}]}) { id } }', 13),
    ("{ any { __typename } }", 50),
    ("{ any { ... on Thing { size thing { id } } } }", 50),
    ("{ any { ... on Thing { size thing { id } } ... on Heavy { name } } }", 51),
    ("{ node { id } }", 51),
    # What execution merges is paid once.
    ("{ leaf leaf other: leaf }", 2),
    ("{ thing { id } thing { name } }", 4),
    ("{ thing { ...f ...f } } fragment f on Thing { id }", 3),
    ("{ ... { leaf } ... on Query { leaf } }", 1),
    # What is switched off for good costs nothing.
    ("{ leaf @skip(if: true) thing @include(if: false) { id } }", 0),
    ("{ leaf @skip(if: false) thing @include(if: true) { id } }", 4),
]


@pytest.mark.parametrize(("query", "price"), TABLE)
def test_the_price_is_as_summed_up_by_hand(query, price):
    assert price_of(query) == price


@pytest.mark.parametrize(
    ("query", "variables", "price"),
    [
        ("query ($n: Int) { sliced(first: $n) { id } }", {"n": 7}, 21),
        ("query ($n: Int = 2) { sliced(first: $n) { id } }", {}, 6),
        ("query ($n: Int = 2) { sliced(first: $n) { id } }", {"n": 3}, 9),
        ("query ($n: Int, $m: Int) { sliced(first: $n, last: $m) { id } }", {"m": 4}, 12),
        ("query ($n: Int, $m: Int) { sliced(first: $n, last: $m) { id } }", {"n": None, "m": 4}, 12),
        ("query ($n: Int) { byDefault(first: $n) { id } }", {}, 12),
        ("query ($n: Int) { pages(first: $n) { edges { node { id } } } }", {"n": 2}, 12),
        ("query ($p: Page) { nested(page: $p) { id } }", {"p": {"first": 5}}, 15),
        ("query ($n: Int) { nested(page: {first: $n}) { id } }", {"n": 5}, 15),
        ("query ($f: Filter) { find(filter: $f) { id } }", {"f": {"and": [{"like": "a"}, {"like": "b"}]}}, 13),
        ("query ($on: Boolean!) { leaf @include(if: $on) thing @skip(if: $on) { id } }", {"on": True}, 1),
        ("query ($on: Boolean!) { leaf @include(if: $on) thing @skip(if: $on) { id } }", {"on": False}, 3),
        ("query ($on: Boolean!) { leaf @include(if: $on) leaf }", {"on": False}, 1),
        ("query ($on: Boolean!) { ...f @include(if: $on) } fragment f on Query { leaf }", {"on": False}, 0),
        ("query ($n: Int) { any { ... on Thing { t: things { id } } } sliced(first: $n) { id } }", {"n": 1}, 53),
        ("query ($n: Int) { sliced(first: $n) { id } }", {"n": 10**30}, 3_000_000),
    ],
)
def test_variables_count_as_they_will_be(query, variables, price):
    assert price_of(query, **variables) == price


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        ("{ sliced { id } }", {}),
        ("{ sliced(first: null) { id } }", {}),
        ("{ sliced(first: 1, last: 2) { id } }", {}),
        ("query ($n: Int) { sliced(first: $n) { id } }", {}),
        ("query ($n: Int) { sliced(first: $n) { id } }", {"n": "no number"}),
        ("query ($n: Int, $m: Int) { sliced(first: $n, last: $m) { id } }", {"n": 1, "m": 1}),
    ],
)
def test_a_list_that_needs_one_slicing_argument_gets_exactly_one(query, variables):
    with pytest.raises(CostObjection, match=r"Query\.sliced: give exactly one of: first, last"):
        price_of(query, **variables)


@pytest.mark.parametrize("options", [{}, FULLEST, {"descriptions": False}, {**FULLEST, "type_depth": 12}])
def test_the_schema_as_tools_ask_for_it_costs_a_hundred_or_less(options):
    assert 80 <= price_of(get_introspection_query(**options)) <= 100


INTROSPECTIONS = [
    get_introspection_query(),
    '{ __type(name: "Heavy") { name interfaces { possibleTypes { fields { name type { kind ofType { name } } } } } } }',
    """{ a: __schema { types { ...t } } b: __schema { queryType { ...t ...t } directives { args { name } locations } } }
    fragment t on __Type { kind fields { args { name type { name } } b: args { name } } inputFields { name } }""",
]


@pytest.mark.parametrize("query", INTROSPECTIONS)
def test_values_of_the_schema_are_counted_as_they_will_come(query):
    document = parse(query)
    collector = Collector(PRICED, document)
    root = collector.collect((document.definitions[0].selection_set,), PRICED.query_type)
    counted = sum(ANNOTATIONS.introspection.values(taken, collector) for taken in root.values())
    came = values_in(execute(PRICED, document).data)
    assert counted == came


def values_in(data):
    """Every field's value, whatever is in it."""
    if isinstance(data, list):
        return sum(map(values_in, data))
    return sum(1 + values_in(value) for value in data.values()) if isinstance(data, dict) else 0


def test_what_is_asked_of_the_schema_beyond_what_tools_ask_costs_what_other_values_do():
    once = price_of(get_introspection_query())
    whole = get_introspection_query()
    fragments = whole[whole.index("fragment") :]
    once, four = (
        f"{{ {' '.join(f's{n}: __schema {{ types {{ ...FullType }} }}' for n in range(times))} }} {fragments}"
        for times in (1, 4)
    )
    values = values_in(execute(PRICED, parse(once)).data)
    assert price_of(once) < 100
    assert 2 * values < price_of(four) < 4 * values


@pytest.mark.parametrize("condition", ["@include(if: $on)", "@skip(if: $on)", ""])
def test_conditions_change_nothing_of_the_schemas_price(condition):
    query = f"query ($on: Boolean = true) {{ __schema {condition} {{ types {{ name }} }} leaf @include(if: $on) }}"
    assert price_of(query) == price_of("{ __schema { types { name } } leaf }")


def test_the_schema_asked_for_below_other_fields_costs_every_value():
    schema = build_schema(DIRECTIVES + "type Query { again: [Query!]! @listSize(assumedSize: 3), leaf: Int }")
    document = parse("{ again { __schema { queryType { name } } } }")
    price = Planner(schema, annotations_of(schema, Weights()), document).price(document.definitions[0])
    assert price.of({}) == 3 * (2 + 3)


def test_a_name_that_comes_with_a_variable_may_be_any_types():
    literal = price_of('{ __type(name: "Thing") { fields { name } } }')
    assert price_of("query ($name: String!) { __type(name: $name) { fields { name } } }", name="Thing") > literal


def bomb(leaf, *, width=8, levels=40):
    spread = " ".join(f"t{n}: thing {{ ...f%s }}" for n in range(width))
    fragments = "".join(f" fragment f{n} on Thing {{ {spread.replace('%s', str(n + 1))} }}" for n in range(levels))
    return f"query ($on: Boolean = true) {{ thing {{ ...f0 }} }}{fragments} fragment f{levels} on Thing {{ {leaf} }}"


@pytest.mark.parametrize("leaf", ["id", "id @include(if: $on)"])
def test_a_bomb_of_fragments_is_priced_in_no_time_and_at_its_full_price(leaf):
    query = bomb(leaf)
    with counted() as calls:
        assert price_of(query) > 8.0**40
    assert len(calls) < 250_000


def test_a_tangle_that_cannot_be_priced_in_bounded_work_is_refused():
    conditions = " ".join(f"$v{n}: Boolean!" for n in range(14))
    spreads = "".join(
        f" fragment f{n} on Query {{ ...f{n + 1} @skip(if: $v{n}) ...f{n + 1} @include(if: $v{n}) leaf }}"
        for n in range(14)
    )
    with counted() as calls, pytest.raises(CostObjection, match="too tangled"):
        price_of(f"query ({conditions}) {{ ...f0 }}{spreads} fragment f14 on Query {{ leaf }}")
    assert len(calls) < 250_000


MEASURED = build_schema(
    DIRECTIVES
    + """
type Query {
  report(days: Int, by: [String!]): Report @cost(weight: "5") @listSize(assumedSize: 7, sizedFields: ["rows"])
}
type Report { rows: [Row!]!, total: Int }
type Row { sum: Int }
"""
)


def test_a_measure_sizes_by_all_arguments_and_adds_what_finding_costs():
    def measure(given):
        return Estimate(length=given.get("days", 1) * len(given.get("by", ())), work=100.0 * given.get("days", 1))

    def cost(query, measures, **variables):
        document = parse(query)
        planner = Planner(MEASURED, annotations_of(MEASURED, Weights(), measures), document)
        return planner.price(document.definitions[0]).of(variables)

    measures = {"Query.report": measure}
    literal = '{ report(days: 3, by: ["a", "b"]) { rows { sum } total } }'
    assert cost(literal, {}) == 5 + 2 + 1 + 7 * (2 + 1)
    assert cost(literal, measures) == 300 + 5 + 2 + 1 + 6 * (2 + 1)
    by_variable = "query ($n: Int = 2, $by: [String!]) { report(days: $n, by: $by) { rows { sum } } }"
    assert cost(by_variable, measures) == 200 + 5 + 2
    assert cost(by_variable, measures, n=4, by=["a"]) == 400 + 5 + 2 + 4 * (2 + 1)
    with pytest.raises(StartError, match=r"Query\.other: a measure for no field"):
        annotations_of(MEASURED, Weights(), {"Query.other": measure})


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ('type Query { a: Int @cost(weight: "much") }', "Query.a: @cost needs a number"),
        (
            'type Query { a: [Int] @listSize(slicingArguments: ["first"]) }',
            "Query.a: slicingArguments names no argument",
        ),
        ('type Query { a(p: P): [Int] @listSize(slicingArguments: ["p.x"]) } input P { y: Int }', "no argument: p.x"),
        ('type Query { a: T @listSize(assumedSize: 1, sizedFields: ["b"]) } type T { c: Int }', "names no field: b"),
        ("type Query { a: Int @listSize(assumedSize: 1) }", "Query.a: @listSize is on no list"),
    ],
)
def test_a_mistake_in_the_directives_refuses_to_start(mistake, said):
    with pytest.raises(StartError, match=said):
        annotations_of(build_schema(DIRECTIVES + mistake), Weights())
