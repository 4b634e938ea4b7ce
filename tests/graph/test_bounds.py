"""What may be validated: each bound by itself, the attacks on validation, and what the bounds leave to validation."""

import pytest
from graphql import get_introspection_query, parse, validate
from hypothesis import given, settings
from hypothesis import strategies as st

from citadel_edge.graph.bounds import Bounds, objection, objection_to_text, objection_to_variables
from graph.work import counted

BOUNDS = Bounds()


def said(query, bounds=BOUNDS):
    return objection(parse(query), bounds)


def nested(levels):
    return "{ book(id: 1) " + "{ author { books(first: 1) " * levels + "{ id }" + "} }" * levels + "}"


@pytest.mark.parametrize(
    ("within", "beyond", "what"),
    [
        ("{" + "slow " * 30 + "}", "{" + "slow " * 31 + "}", "31 fields with the same response name"),
        (
            "{" + " ".join(f"a{n}: slow" for n in range(15)) + "}",
            "{" + " ".join(f"a{n}: slow" for n in range(16)) + "}",
            "16 aliases",
        ),
        (
            "query ($x: Int @a) @a {" + " slow @a @a" * 23 + " ...f @a } fragment f on Query @a { said }",
            "query ($x: Int @a) @a {" + " slow @a @a" * 23 + " ...f @a @a } fragment f on Query @a { said }",
            "51 directives",
        ),
        ("{" + "... { slow } " * 25 + "...f " * 24 + "} fragment f on Query { said }", None, None),
        (None, "{" + "... { said } " * 25 + "...f " * 25 + "} fragment f on Query { slow }", "51 fragments"),
        (
            " ".join(f"query q{n} {{ slow }}" for n in range(10)),
            " ".join(f"query q{n} {{ slow }}" for n in range(11)),
            "11 operations",
        ),
        (
            "query (" + " ".join(f"$v{n}: Int" for n in range(50)) + ") { slow }",
            "query (" + " ".join(f"$v{n}: Int" for n in range(51)) + ") { slow }",
            "51 variables",
        ),
        ("{a{b{c{d{e{f}}}}}}", "{a{b{c{d{e{f{g}}}}}}}", "7 levels of fields"),
    ],
)
def test_each_bound_takes_so_many_and_not_one_more(within, beyond, what):
    assert within is None or said(within) is None
    assert beyond is None or what in said(beyond)


def test_depth_counts_through_fragments_and_not_the_fragments():
    fragments = "fragment one on Q { c { ...two } } fragment two on Q { d { ... on Q { e { f %s } } } }"
    assert said("{ a { ... { b { ...one } } } } " + fragments % "") is None
    assert "7 levels" in said("{ a { ... { b { ...one } } } } " + fragments % "{ g }")


def test_introspection_is_exempt_from_depth_and_the_fields_beside_it_are_not():
    assert said(get_introspection_query()) is None
    assert "7 levels" in said("{ __schema { types { name } } a{b{c{d{e{f{g}}}}}} }")


def test_a_fragment_that_spreads_itself_is_left_to_validation():
    circle = "{ ...a } fragment a on Query { book(id: 1) { ...b } } fragment b on Book { related { ...b } ...a }"
    assert said(circle) is None


def test_a_thousand_fragments_in_a_chain_are_counted_without_recursion():
    chain = "{ ...f0 }" + "".join(f" fragment f{n} on Query {{ a {{ ...f{n + 1} }} }}" for n in range(2_000))
    assert "2001 levels" in said(chain + " fragment f2000 on Query { a }", Bounds(fragments=9_999, same_name=9_999))


def test_a_text_over_its_characters_is_not_even_parsed():
    assert objection_to_text("x" * 15_000, BOUNDS) is None
    assert "15001 characters" in objection_to_text("x" * 15_001, BOUNDS)


@pytest.mark.parametrize(
    ("variables", "refused"),
    [
        ({}, False),
        ({"text": "x" * 1_000_000}, False),
        ({"list": list(range(9_999))}, False),
        ({"list": list(range(10_000))}, True),
        ({"deep": [{"list": [[number] for number in range(6_000)]}]}, True),
    ],
)
def test_the_values_of_variables_are_counted_wherever_they_are(variables, refused):
    assert (objection_to_variables(variables, BOUNDS) is not None) is refused


def test_values_as_deep_as_they_like_are_counted_without_recursion():
    value = []
    for _ in range(9_000):
        value = [value]
    assert objection_to_variables({"deep": value}, BOUNDS) is None


ATTACKS = {
    "one field with 150 different arguments": "{" + " ".join(f"book(id:{n}){{id}}" for n in range(150)) + "}",
    "one name 900 times": "{" + "b " * 900 + "}",
    "inline fragments": "{" + "...{a} " * 140 + "}",
    "fragments that spread each other": "{ ...f0 }"
    + "".join(
        f" fragment f{n} on Query {{ slow {' '.join(f'...f{m}' for m in range(n + 1, 25))} }}" for n in range(25)
    ),
    "directives": "{ slow " + "@skip(if: true) " * 180 + "}",
    "aliases": "{" + " ".join(f"a{n}: slow" for n in range(300)) + "}",
}


@pytest.mark.parametrize("query", ATTACKS.values(), ids=ATTACKS)
def test_an_attack_on_validation_is_seen_at_little_cost(query):
    document = parse(query)
    with counted() as calls:
        assert objection(document, BOUNDS) is not None
    assert len(calls) < 5_000, "each takes about a microsecond"


FIELDS = st.sampled_from(["id", "title", "slow", "books(first: 2)", "book(id: 1)", "author", "related", "node(id: 2)"])
LEAVES = st.sampled_from(
    ["id", "slow", "title", "name", "nope", "__typename", "a: id", "id @skip(if: $v)", "...f", "...g"]
)
SELECTIONS = st.recursive(
    st.lists(LEAVES, min_size=1, max_size=12).map(" ".join),
    lambda inner: st.lists(
        st.tuples(st.one_of(FIELDS, st.sampled_from(["...", "... on Book", "... on Author"])), inner).map(
            lambda pair: f"{pair[0]} {{ {pair[1]} }}"
        ),
        min_size=1,
        max_size=10,
    ).map(" ".join),
    max_leaves=40,
)
DOCUMENTS = st.tuples(SELECTIONS, SELECTIONS, SELECTIONS).map(
    lambda of: f"query ($v: Boolean!) {{ {of[0]} }} fragment f on Book {{ {of[1]} }} fragment g on Query {{ {of[2]} }}"
)


@settings(deadline=None, max_examples=60)
@given(query=DOCUMENTS)
def test_what_passes_the_bounds_costs_validation_no_more_than_its_length_allows(schema, query):
    document = parse(query)
    if objection_to_text(query, BOUNDS) or objection(document, BOUNDS):
        return
    tokens = sum(1 for _ in _tokens(document))
    with counted() as calls:
        validate(schema, document, max_errors=10)
    assert len(calls) < 5_000 + 200 * tokens  # each is about a microsecond


def _tokens(document):
    token = document.loc.start_token
    while token is not None:
        yield token
        token = token.next
