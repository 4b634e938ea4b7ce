"""The price of an operation before it runs, by what its schema says and with its variables. Pure.

A field costs its own weight for each parent, and for each object or value it returns that one's weight and the price
of what is asked of it; of an abstract type the dearest possible one counts. Fields that execution would merge are
merged, and a selection is priced once for each type it is asked of, so that fragments spread a thousand times are one
piece of work. What no variable changes is summed up when the document is read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from graphql import OperationDefinitionNode, Undefined, ValueNode, VariableNode, value_from_ast_untyped

from citadel_edge.graph.cost_annotations import InputPrices, ListSize, Measure, Slice
from citadel_edge.graph.cost_collect import Condition, CostObjection

LONGEST: Final = 1_000_000
Values = Mapping[str, Any]
Priced = dict[int, float]


@dataclass(frozen=True, slots=True, eq=False)
class Sized:
    """A list's length by the arguments as the document gives them."""

    by: ListSize
    given: Mapping[str, ValueNode]
    otherwise: int

    def constant(self) -> bool:
        """Whether no variable can change it."""
        read = self.given if self.by.measure is not None else {each.path[0] for each in self.by.slices}
        return not any(_holds_variable(self.given.get(name)) for name in read)

    def length(self, values: Values) -> int:
        """How many are returned at most. Raises CostObjection when the arguments do not say it as they must."""
        if self.by.measure is not None:
            return min(self.by.measure(self.arguments(values)).length, LONGEST)
        sent = [size for each in self.by.slices if (size := self._sent(each, values)) is not None]
        defaults = [each.default for each in self.by.slices if each.default is not None]
        if self.by.require_one and (len(sent) > 1 or not (sent or defaults)):
            names = ", ".join(".".join(each.path) for each in self.by.slices)
            raise CostObjection(f"{self.by.where}: give exactly one of: {names}")
        if sent or defaults:
            return max(sent or defaults)
        return self.otherwise if self.by.assumed is None else self.by.assumed

    def share(self, values: Values) -> int:
        """How many of the list count as one."""
        return 1 if self.by.measure is None else self.by.measure(self.arguments(values)).share

    def work(self) -> "Term":
        """What it costs besides to find the list."""
        if self.by.measure is None:
            return Term()
        part = Work(self.by.measure, self)
        return Term(part.price({}, {})) if self.constant() else Term(0.0, (part,))

    def arguments(self, values: Values) -> dict[str, Any]:
        """All of them, as they were sent."""
        found = {name: value_from_ast_untyped(node, dict(values)) for name, node in self.given.items()}
        return {name: value for name, value in found.items() if value is not Undefined}

    def _sent(self, each: Slice, values: Values) -> int | None:
        node = self.given.get(each.path[0])
        value = Undefined if node is None else value_from_ast_untyped(node, dict(values))
        for step in each.path[1:]:
            value = value.get(step) if isinstance(value, Mapping) else None
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return int(min(max(value, 0), LONGEST))


@dataclass(frozen=True, slots=True)
class Term:
    """A sum: what is known, and parts that depend on variables."""

    known: float = 0.0
    parts: Sequence["Field | Dearest | Weighed | Work"] = ()

    def price(self, values: Values, priced: Priced) -> float:
        """The sum with these variables. One term stands in many places: it is summed up once."""
        if not self.parts:
            return self.known
        found = priced.get(id(self))
        if found is None:
            found = priced[id(self)] = self.known + sum(part.price(values, priced) for part in self.parts)
        return found


@dataclass(frozen=True, slots=True)
class Field:
    """A field whose price depends on a variable: whether it is taken, how long it is, or what is below it.

    Taken if `when` is empty or one of its conditions holds.
    """

    when: Sequence[Condition]
    own: Term
    size: Sized | int
    each: Term

    def price(self, values: Values, priced: Priced) -> float:
        """Its price with these variables."""
        if self.when and not any(_holds(condition, values) for condition in self.when):
            return 0.0
        length = self.size if isinstance(self.size, int) else self.size.length(values)
        return self.own.price(values, priced) + length * self.each.price(values, priced)


@dataclass(frozen=True, slots=True)
class Dearest:
    """What is asked of an abstract type: one term for each possible type."""

    terms: Sequence[Term]

    def price(self, values: Values, priced: Priced) -> float:
        """The dearest's price with these variables."""
        return max(term.price(values, priced) for term in self.terms)


@dataclass(frozen=True, slots=True)
class Weighed:
    """An input value that comes with a variable, weighed by the fields it has."""

    variable: str
    type: str
    inputs: Mapping[str, InputPrices]

    def price(self, values: Values, _: Priced) -> float:
        """The weights of the fields that are there."""
        total, waiting = 0.0, [(self.type, values.get(self.variable))]
        while waiting:
            kind, value = waiting.pop()
            if isinstance(value, list):
                waiting += ((kind, each) for each in value)
            elif isinstance(value, Mapping) and kind in self.inputs:
                prices = self.inputs[kind]
                total += sum(prices.weights.get(name, 0.0) for name in value)
                waiting += ((prices.types[name], each) for name, each in value.items() if name in prices.types)
        return total


@dataclass(frozen=True, slots=True)
class Work:
    """What it costs to find what a field's arguments ask for."""

    measure: Measure
    of: Sized

    def price(self, values: Values, _: Priced) -> float:
        """With these variables."""
        return self.measure(self.of.arguments(values)).work


def defaults_of(node: OperationDefinitionNode) -> dict[str, Any]:
    """The values that an operation gives its variables itself."""
    return {
        each.variable.name.value: value_from_ast_untyped(each.default_value)
        for each in node.variable_definitions or ()
        if each.default_value is not None
    }


def fold(when: Sequence[Condition], own: Term, size: Sized | int, each: Term) -> Term:
    """A field's term, summed up if no variable changes it."""
    if not isinstance(size, int) and size.constant():
        size = size.length({})
    if when or own.parts or each.parts or not isinstance(size, int):
        return Term(0.0, (Field(when, own, size, each),))
    return Term(own.known + size * each.known)


def add(terms: Sequence[Term]) -> Term:
    """The sum of terms."""
    return Term(sum(term.known for term in terms), tuple(part for term in terms for part in term.parts))


def dearest(terms: Sequence[Term]) -> Term:
    """The dearest of terms, summed up if no variable changes any."""
    if len(terms) == 1:
        return terms[0]
    if any(term.parts for term in terms):
        return Term(0.0, (Dearest(terms),))
    return Term(max((term.known for term in terms), default=0.0))


def _holds(condition: Condition, values: Values) -> bool:
    return all(bool(values.get(name)) is wanted for name, wanted in condition)


def _holds_variable(node: ValueNode | None) -> bool:
    waiting: list[Any] = [node]
    while waiting:
        each = waiting.pop()
        if isinstance(each, VariableNode):
            return True
        waiting += getattr(each, "values", None) or ()
        waiting += (inner.value for inner in getattr(each, "fields", None) or ())
    return False
