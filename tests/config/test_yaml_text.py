"""Which YAML is understood."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.config.references import Template
from citadel_edge.config.yaml_text import MAX_DEPTH, Parsed, parse, resolved


def only_flaw(text: str) -> str:
    parsed = parse(text)
    (flaw,) = parsed.flaws
    assert not parsed.whole
    return f"{flaw.line}: {flaw.message}"


@pytest.mark.parametrize("text", ["", "\n# nothing\n", "---\n", "null", "{}"])
def test_no_settings_are_an_empty_mapping(text):
    assert parse(text) == Parsed({})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("2001-01-01", "2001-01-01"),
        ("0800", 800),
        ("0x1F", 31),
        ("0o17", 15),
        ("-3", -3),
        ("1_000", "1_000"),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("True", True),
        ("~", None),
        ("'8'", "8"),
        ('"true"', "true"),
        ("! 8", "8"),
        ("!!str 8", "8"),
        ("|\n  a\n  b", "a\nb"),
    ],
)
def test_plain_scalars_follow_the_core_schema(text, value):
    assert parse(f"a: {text}").data == {"a": value}


def test_aliases_and_merge_keys_are_followed():
    text = "base: &base {slots: 2, url: x}\na: {<<: *base, slots: 3}\nb: *base\nc: {<<: [{slots: 9}, *base]}"
    data = parse(text).data
    assert data["a"] == {"slots": 3, "url": "x"}
    assert data["b"] == {"slots": 2, "url": "x"}
    assert data["c"] == {"slots": 9, "url": "x"}


def test_an_alias_bomb_is_refused():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 20)]
    assert "more than 50000 values, aliases followed" in only_flaw("\n".join(lines))


def test_a_deep_text_is_refused():
    assert f"nested more than {MAX_DEPTH} deep" in only_flaw("a: " + "[" * 100_000)


def test_depth_through_aliases_is_refused_too():
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 100))]
    assert f"nested more than {MAX_DEPTH} deep" in only_flaw("\n".join(lines))


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        ("a: *b", "1: the alias *b names nothing that ends before it; define &b first"),
        ("a: &a [*a]", "1: the alias *a names nothing that ends before it; define &a first"),
        ("x: 1\na: {<<: 3}", "2: expected a mapping after '<<', as in '<<: *defaults'"),
        ("a: !secret x", "1: tags like !this are not understood; remove it"),
        ("a: !x [1]", "1: tags like !this are not understood; remove it"),
        ("a: \ue000", "None: the characters U+E000 and U+E001 cannot be used here; remove them"),
        (
            "a: 1\n\tb: 2",
            "2: not YAML: found a tab character that violates indentation; look at indentation, colons and quotes",
        ),
        ("text", "None: expected a mapping of settings at the top, got text"),
    ],
)
def test_what_is_not_understood(text, flaw):
    assert only_flaw(text) == flaw


def test_keys_must_be_names_and_stand_once():
    parsed = parse("a: {b: [{c: 1, d: 2, c: 3}]}\n? [x]\n: 1\ntrue: 2\n1.5: 3\nnull: 4")
    assert parsed.whole
    assert parsed.data == {"a": {"b": [{"c": 1, "d": 2}]}}
    assert [(flaw.path, flaw.line, flaw.message) for flaw in parsed.flaws] == [
        ("a.b[0].c", None, "given twice, in line 1; keep one"),
        ("", 2, "a list cannot be a key; write a name, or put it in quotes"),
        ("", 4, "true or false cannot be a key; write a name, or put it in quotes"),
        ("", 5, "a number cannot be a key; write a name, or put it in quotes"),
        ("", 6, "nothing cannot be a key; write a name, or put it in quotes"),
    ]


def test_references_stand_where_yaml_allows_no_braces():
    data = parse("a: {b: ${X}, c: [pre-${Y:-a, b: c}], d: '$${Z}'}").data
    assert isinstance(data["a"]["b"], Template)
    assert data["a"]["c"][0].fill({}) == "pre-a, b: c"
    assert data["a"]["d"].fill({}) == "${Z}"


def test_a_reference_is_no_key():
    parsed = parse("${X}: 1")
    assert parsed.flaws[0].message == "text cannot be a key; write a name, or put it in quotes"


PRINTABLE = st.text(  # as YAML 1.2, 5.1, has it: the last two code points of the first plane are none
    st.characters(exclude_categories=["Cs", "Cc", "Co", "Zl", "Zp"], exclude_characters="$\ufeff\ufffe\uffff"),
    max_size=12,
)
KEYS = PRINTABLE.filter(lambda key: key != "<<")  # it merges, however it is quoted; no setting is called so
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | PRINTABLE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(KEYS, PLAIN, max_size=5))
def test_json_is_yaml(data):
    assert parse(json.dumps(data, ensure_ascii=False)) == Parsed(data)


@given(st.text(alphabet="ab:-{}[]&*!|>'\"%#,? \n\t$~<01.", max_size=80) | st.text(max_size=60))
def test_no_text_is_too_strange(text):
    parsed = parse(text)
    assert isinstance(parsed.data, dict)
    assert parsed.whole or parsed.flaws


@given(st.integers(-(10**30), 10**30))
def test_integers_are_themselves(number):
    assert resolved(str(number)) == number
