"""The lines that complete a field of scalars or enums: a look at the value's class, and its tail for the rest."""

from collections.abc import Iterable
from typing import Any, Final

from graphql import GraphQLEnumType, GraphQLLeafType, is_non_null_type

from citadel_edge.graph.compiled.leaves import Leaf, enum_names, known_classes, leaf_of, quick_list
from citadel_edge.graph.compiled.selections import Field

Lines = list[str]
EXACT: Final = 2**53
"""Integers up to here are floats without loss."""
UNSURE: Final = {
    Leaf.TEXT: "type({v}) is not str",
    Leaf.INT: "(type({v}) is not int or not -2147483648 <= {v} <= 2147483647)",
    Leaf.FLOAT: "(type({v}) is not float or {v} - {v} != 0.0)",
    Leaf.BOOLEAN: "{v} is not True and {v} is not False",
}
"""When a value of these types is not surely one already."""


def indented(lines: Iterable[str]) -> Lines:
    """The lines, one level further in."""
    return [f"    {line}" for line in lines]


def is_nullable(field: Field) -> bool:
    """Whether null is an answer for the field."""
    return not is_non_null_type(field.type)


def on_value(n: int, field: Field, lines: Lines) -> Lines:
    """The lines for a value; null answers for itself where it may."""
    return [f"if v{n} is not None:", *indented(lines)] if is_nullable(field) else lines


def noted(n: int, field: Field) -> Lines:
    """After a tail: what came back may have to be awaited."""
    return [f"if type(v{n}) is Coroutine: w = wait(w, {field.key!r}, v{n})"]


def leaf_lines(n: int, field: Field, named: GraphQLLeafType, names: dict[str, Any], at: str) -> Lines:
    """Complete `v{n}`, a scalar or enum. `at`: how the text names the place, the index and the run."""
    kind, finish = leaf_of(named), _finish(n, field, at)
    match kind:
        case Leaf.ENUM if isinstance(named, GraphQLEnumType):
            return _enum(n, field, named, names, finish)
        case Leaf.CUSTOM:
            return _custom(n, field, named, names, at)
    null = f" and v{n} is not None" if is_nullable(field) else ""
    lines = [f"if {UNSURE[kind].format(v=f'v{n}')}{null}:", *indented(finish)]
    if kind is Leaf.FLOAT:
        exact = f"type(v{n}) is int and -{EXACT} <= v{n} <= {EXACT}"
        lines[1:] = [f"    if {exact}: v{n} = float(v{n})", "    else:", *indented(indented(finish))]
    return lines


def list_lines(n: int, field: Field, named: GraphQLLeafType, names: dict[str, Any], at: str) -> Lines:
    """Complete `v{n}`, a list of scalars or enums that is not null."""
    quick = quick_list(named)
    if quick is None:
        return _finish(n, field, at)
    names[f"q{n}"] = quick
    return [
        f"y = q{n}(v{n}) if type(v{n}) is list or type(v{n}) is tuple else None",
        f"if y is not None: v{n} = y",
        "else:",
        *indented(_finish(n, field, at)),
    ]


def _finish(n: int, field: Field, at: str) -> Lines:
    return [f"v{n} = t{n}(v{n}, {at})", *noted(n, field)]


def _enum(n: int, field: Field, named: GraphQLEnumType, names: dict[str, Any], finish: Lines) -> Lines:
    found = enum_names(named)
    classes = known_classes(found)
    names |= {f"e{n}": found.get, f"E{n}": classes}
    known = f"type(v{n}) is str" if classes == {str} else f"type(v{n}) in E{n}"
    return [
        f"y = e{n}(v{n}) if {known} else None",
        f"if y is not None: v{n} = y",
        f"elif v{n} is not None:" if is_nullable(field) else "else:",
        *indented(finish),
    ]


def _custom(n: int, field: Field, named: GraphQLLeafType, names: dict[str, Any], at: str) -> Lines:
    names[f"c{n}"] = named.coerce_output_value
    return [
        f"if type(v{n}) in VALUES:",
        "    try:",
        f"        y = c{n}(v{n})",
        "    except Exception as e:",
        f"        v{n} = x{n}(e, {at})",
        "    else:",
        f"        if type(y) in VALUES: v{n} = y",
        "        else:",
        *indented(indented(indented(_finish(n, field, at)))),
        f"elif v{n} is not None:" if is_nullable(field) else "else:",
        *indented(_finish(n, field, at)),
    ]
