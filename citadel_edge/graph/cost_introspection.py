"""What operations that ask for the schema cost: the values in their answers, counted before they run. Pure.

A schema is known, so nothing need be estimated: for each of its things it is known which others every field returns,
and what is asked is followed along them, with how often each is returned. Answers up to about the size of the one that
tools ask for cost little, by the share of it that they are; what goes beyond costs as much as any other value.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from math import ceil
from types import SimpleNamespace
from typing import Any, Final, cast

from graphql import (
    FieldNode,
    GraphQLField,
    GraphQLObjectType,
    GraphQLSchema,
    OperationDefinitionNode,
    StringValueNode,
    get_introspection_query,
    get_named_type,
    get_nullable_type,
    introspection_types,
    is_list_type,
    is_type,
    parse,
)

from citadel_edge.graph.cost_collect import Collector, Sets, Taken

FULLEST: Final = {
    "specified_by_url": True,
    "directive_is_repeatable": True,
    "schema_description": True,
    "input_value_deprecation": True,
    "one_of": True,
}
"""The options of the fullest query that tools ask for a schema with."""
LENIENCY: Final = 1.5
"""How much larger than the answer that tools ask for one may be and still be cheap: there are many such tools."""
STEPS: Final = 3
"""Steps along the schema that are as much work as one selection."""
Things = Mapping[int, int]
"""How often each thing of the schema is returned, by its number."""


class Introspection:
    """One schema as introspection shows it. `weight` is the price of the answer that tools ask for."""

    def __init__(self, schema: GraphQLSchema, weight: float) -> None:
        numbers = _Numbers()
        self._returned = dict(_returned(schema, numbers))
        self._root = numbers.of(schema)
        self._types = {name: numbers.of(kind) for name, kind in schema.type_map.items()}
        self._whole = self._asked_by_tools(schema)
        self._weight = weight

    def price(self, values: int) -> float:
        """What an operation costs whose answer has so many values of the schema."""
        cheap = min(values, LENIENCY * self._whole)
        return float(ceil(self._weight * cheap / self._whole + values - cheap))

    def values(self, taken: Taken, collector: Collector) -> int:
        """How many values come of a `__schema` or `__type`, whatever its conditions. Raises CostObjection."""
        below = tuple(taken.below.values())
        if taken.node.name.value == "__schema":
            return 1 + self._count(below, introspection_types["__Schema"], {self._root: 1}, collector)
        return 1 + self._count(below, introspection_types["__Type"], self._named(taken.node), collector)

    def _named(self, node: FieldNode) -> Things:
        """The type that a `__type` names; all of them for a name that comes with a variable: it may be any."""
        name = next((argument.value for argument in node.arguments or ()), None)
        if not isinstance(name, StringValueNode):
            return dict.fromkeys(self._types.values(), 1)
        return {self._types[name.value]: 1} if name.value in self._types else {}

    def _count(self, sets: Sets, kind: Any, things: Things, collector: Collector) -> int:
        times, total = sum(things.values()), 0
        if not times:
            return total
        for taken in collector.collect(sets, kind).values():
            total += times
            if taken.below:
                name = taken.node.name.value
                inner = get_named_type(kind.fields[name].type)
                total += self._count(
                    tuple(taken.below.values()), inner, self._below(things, name, collector), collector
                )
        return total

    def _below(self, things: Things, name: str, collector: Collector) -> Things:
        found: Counter[int] = Counter()
        steps = 0
        for thing, times in things.items():
            returned = self._returned[thing, name]
            steps += 1 + len(returned)
            for each in returned:
                found[each] += times
        collector.spend(steps // STEPS)
        return found

    def _asked_by_tools(self, schema: GraphQLSchema) -> int:
        document = parse(get_introspection_query(**FULLEST))
        operation = cast("OperationDefinitionNode", document.definitions[0])
        collector = Collector(schema, document)
        root = cast("GraphQLObjectType", schema.query_type)
        (taken,) = collector.collect((operation.selection_set,), root).values()
        return self.values(taken, collector)


@lru_cache(maxsize=1)
def introspection_of(schema: GraphQLSchema, weight: float) -> Introspection:
    """Of the last schema asked for, counted once: a process has one."""
    return Introspection(schema, weight)


class _Numbers:
    """The things of a schema, numbered. A type wrapped alike in two places is one thing."""

    def __init__(self) -> None:
        self._known: dict[Any, int] = {}

    def of(self, thing: Any) -> int:
        """Types count by what they are written as; fields, values and arguments come with their names."""
        key = str(thing) if is_type(thing) else id(thing[1] if isinstance(thing, tuple) else thing)
        return self._known.setdefault(key, len(self._known))


def _returned(schema: GraphQLSchema, numbers: _Numbers) -> Iterator[tuple[tuple[int, str], tuple[int, ...]]]:
    """Of each thing that introspection may come to, by field, which things it returns; deprecated ones are counted."""
    info = SimpleNamespace(schema=schema)
    waiting: list[tuple[Any, Any]] = [(schema, introspection_types["__Schema"])]
    done: set[int] = set()
    while waiting:
        thing, kind = waiting.pop()
        number = numbers.of(thing)
        if number in done:
            continue
        done.add(number)
        for name, field in kind.fields.items():
            inner = get_named_type(field.type)
            if isinstance(inner, GraphQLObjectType):
                found = _things(field, thing, info)
                yield (number, name), tuple(numbers.of(each) for each in found)
                waiting += ((each, inner) for each in found)


def _things(field: GraphQLField, thing: Any, info: Any) -> Sequence[Any]:
    resolve: Any = field.resolve
    found = resolve(thing, info, **dict.fromkeys(field.args, True))
    if found is None:
        return ()
    return tuple(found) if is_list_type(get_nullable_type(field.type)) else (found,)
