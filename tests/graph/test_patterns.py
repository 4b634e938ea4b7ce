"""The operator's table of operations: exact while there is room, bounded always, never without the common ones."""

import random
from dataclasses import dataclass
from enum import Enum

from citadel_edge.graph.operations import Shape
from citadel_edge.graph.patterns import Patterns


class Kind(Enum):
    QUERY = "query"


@dataclass(frozen=True)
class Ran:
    """What the table looks at of an operation."""

    name: str
    shape: Shape
    kind: Kind = Kind.QUERY


def ran(number):
    return Ran(f"Q{number}", Shape(f"{number:016x}", f"query Q{number}"))


def test_counts_costs_times_and_errors_are_exact_while_there_is_room():
    patterns = Patterns(size=3)
    patterns.count(ran(1), cost=10, seconds=0.5, failed=False)
    patterns.count(ran(1), cost=30, seconds=0.1, failed=True)
    patterns.count(ran(2), cost=100, seconds=0.2, failed=False)
    first, second = patterns.top(5)
    assert (first.name, first.count, first.over, first.errors, first.cost, first.highest_cost) == (
        "Q1",
        2,
        0,
        1,
        40,
        30,
    )
    assert (first.seconds, first.slowest_s) == (0.6, 0.5)
    assert [row.name for row in patterns.top(1, by="cost")] == ["Q2"]
    assert [row.name for row in patterns.top(1, by="errors")] == ["Q1"]
    assert second.text == "query Q2"


def test_operations_of_one_shape_and_different_names_are_told_apart():
    patterns = Patterns()
    shape = Shape("0" * 16, "query A { a } query B { b }")
    patterns.count(Ran("A", shape), cost=1, seconds=0, failed=False)
    patterns.count(Ran("B", shape), cost=1, seconds=0, failed=False)
    assert {row.name for row in patterns.top(5)} == {"A", "B"}


def test_the_table_is_bounded_and_never_without_what_is_common():
    patterns = Patterns(size=20)
    chance = random.Random(7)
    runs = [1] * 500 + [2] * 300 + list(range(100, 900))
    chance.shuffle(runs)
    for number in runs:
        patterns.count(ran(number), cost=1, seconds=0, failed=False)
    rows = patterns.top(1_000)
    assert len(rows) == 20
    assert [row.name for row in rows[:2]] == ["Q1", "Q2"]
    assert all(row.count - row.over <= true <= row.count for row, true in zip(rows, (500, 300), strict=False))
    assert sum(row.count for row in rows) == len(runs)
    assert len(patterns._rarest) <= 21
