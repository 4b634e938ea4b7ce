"""Documents and variables made up at random for the schema of `graph_world`: valid mostly, and odd sometimes."""

from dataclasses import dataclass, field
from random import Random
from typing import Any

from graphql import GraphQLSchema, get_named_type, is_abstract_type, is_leaf_type

DEEPEST = 4
"""Selection sets within each other."""
VARIABLES = (
    "$yes: Boolean!, $no: Boolean = false, $int: Int, $need: Int! = 3, $role: Role = USER, $range: Range, "
    '$ids: [ID!] = ["x"], $at: Moment, $text: String = "d", $list: [String!]'
)
LITERALS: dict[str, list[str]] = {
    "a": ["1", "$int", "null", "$need", "7"],
    "b": ['"text"', "$text", "null"],
    "role": ["ADMIN", "$role", "OWNER"],
    "range": ["$range", "{high: 3}", "{high: $need, tags: $list}", "{low: $int, high: 2, inner: {high: 1}}", "null"],
    "ids": ["$ids", "[1, 2]", '["a", 3]', "5"],
    "at": ['"noon"', "$at", "null"],
    "need": ["4", "$need"],
    "x": ["1", "$int", "$need"],
    "flag": ["true", "$no", "$yes"],
}
ODD = ["{high: null}", '"wrong"', "{}", "$unknown", "[null]", "WRONG", '"bad"', "99999999999", "1.5", "{low: [1]}"]
VALUES: dict[str, list[Any]] = {
    "yes": [True, False],
    "no": [True, False],
    "int": [1, None, 5],
    "need": [4],
    "role": ["ADMIN", None],
    "range": [{"high": 1}, {"low": 4, "high": 2, "tags": ["a"]}, None, {"high": 3, "inner": {"high": 4}}],
    "ids": [["a", 1], None, "one"],
    "at": ["noon", None],
    "text": ["given", None],
    "list": [["l"], None],
}
ODD_VALUES = [{}, {"high": None}, "wrong", [None], 2**40, 1.5, "bad", {"high": 1, "else": 2}, None]


def chance(rng: Random, percent: int) -> bool:
    return rng.randrange(100) < percent


def variables(rng: Random, trouble: int) -> dict[str, Any]:
    """What a client sends."""
    given = {name: rng.choice(values) for name, values in VALUES.items() if name == "yes" or chance(rng, 50)}
    if chance(rng, trouble):
        given[rng.choice(list(VALUES))] = rng.choice(ODD_VALUES)
    return given


@dataclass
class Asking:
    """Makes up one document. `trouble`: the share of oddities, in percent."""

    schema: GraphQLSchema
    rng: Random
    trouble: int
    fragments: list[str] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)

    def document(self) -> str:
        kind = self.rng.choice(["query", "query", "query", "mutation", "subscription"])
        root = self.schema.type_map[{"query": "Query", "mutation": "Mutation", "subscription": "Subscription"}[kind]]
        body = self.selections(root, self.rng.randrange(1, DEEPEST + 1))
        return "\n".join([f"{kind} Asked({VARIABLES}) {body}", *self.fragments])

    def selections(self, type_: Any, depth: int) -> str:
        inner = [self.selection(type_, depth) for _ in range(self.rng.choice([1, 2, 3, 3, 4, 6]))]
        return "{ " + " ".join(inner) + " }"

    def selection(self, type_: Any, depth: int) -> str:
        if depth > 1 and chance(self.rng, 10):
            return self.spread(type_, depth - 1)
        if depth > 1 and chance(self.rng, 12):
            name = self.rng.choice([None, self.fitting(type_)])
            target = self.schema.type_map[name] if name else type_
            condition = f"on {name}" if name else ""
            return f"... {condition} {self.directives()} {self.selections(target, depth - 1)}"
        return self.field(type_, depth)

    def fitting(self, type_: Any) -> str:
        """A type whose fragments may fit, mostly."""
        if is_abstract_type(type_):
            possible = [one.name for one in self.schema.get_possible_types(type_)]
            return str(self.rng.choice([*possible, type_.name, "Named", "Late"]))
        return str(self.rng.choice([type_.name, type_.name, "Named"]))

    def spread(self, type_: Any, depth: int) -> str:
        if self.finished and chance(self.rng, 30):
            return f"...{self.rng.choice(self.finished)} {self.directives()}"
        name = f"f{len(self.fragments)}"
        self.fragments.append("")
        at = len(self.fragments) - 1
        target = self.schema.type_map[self.fitting(type_)]
        self.fragments[at] = f"fragment {name} on {target.name} {self.selections(target, depth)}"
        self.finished.append(name)
        return f"...{name} {self.directives()}"

    def field(self, type_: Any, depth: int) -> str:
        fields = list(getattr(type_, "fields", {}).items())
        if not fields or chance(self.rng, 10):
            return f"{self.alias()}__typename"
        leaves = [pair for pair in fields if is_leaf_type(get_named_type(pair[1].type))]
        name, definition = self.rng.choice((leaves or [("__typename", None)]) if depth <= 1 else fields)
        if definition is None:
            return "__typename"
        named = get_named_type(definition.type)
        below = "" if is_leaf_type(named) else self.selections(named, depth - 1)
        return f"{self.alias()}{name}{self.arguments(definition)} {self.directives()} {below}"

    def alias(self) -> str:
        return f"{self.rng.choice(['a', 'b', 'name', 'data'])}: " if chance(self.rng, 12) else ""

    def arguments(self, definition: Any) -> str:
        parts = []
        for name, argument in definition.args.items():
            if (str(argument.type).endswith("!") and argument.default is None) or chance(self.rng, 45):
                odd = chance(self.rng, self.trouble // 2)
                parts.append(f"{name}: {self.rng.choice(ODD if odd else LITERALS[name])}")
        return f"({', '.join(parts)})" if parts else ""

    def directives(self) -> str:
        rng = self.rng
        if not chance(rng, 10):
            return ""
        condition = rng.choice(["true", "false", "$yes", "$yes", "$no"])
        return f"@{rng.choice(['skip', 'include'])}(if: {condition})"
