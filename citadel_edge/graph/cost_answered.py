"""What an answer came to: the prices of the plan, with lists as long as they are. Pure.

A field that answered null or an empty list costs its own weight alone; fields of scalars count as they were estimated.
Decides that time is yielded now and then, as answers may be large. Refuses to bound it by the estimate: a list may be
longer than its schema assumes.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Final

from citadel_edge.graph.cost import Priced, Sized, Term, Values

STEPS: Final = 500
"""Objects between two chances to let others run: less than a millisecond."""


@dataclass(frozen=True, slots=True)
class Below:
    """A field that answers objects: its response name, and what is asked of each by type, the dearest first.

    `sized` says how many of its objects count as one, where that is said.
    """

    name: str
    kinds: "Sequence[Kind]"
    sized: Sized | None


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """What is asked of an object of one type.

    Attributes:
        flat: its own weight, its scalars, and the weights of its other fields without what they answer.
        always: response names that such an object has whatever the variables are.
        names: those that it may have.
    """

    flat: Term = field(default_factory=Term)
    below: Sequence[Below] = ()
    always: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()


Step = tuple[Sequence[Kind], list[Any], float]


def answered(root: Kind, data: Mapping[str, Any], values: Values) -> Generator[None, None, float]:
    """What these data cost; each yield is a chance to let others run."""
    priced: Priced = {}
    total, steps = 0.0, 0
    waiting: list[Step] = [((root,), [data], 1.0)]
    while waiting:
        kinds, found, scale = waiting.pop()
        for kind, objects in _by_kind(kinds, found):
            total += scale * len(objects) * kind.flat.price(values, priced)
            for each in objects if kind.below else ():
                waiting += (
                    _step(below, value, scale, values) for below in kind.below if (value := each.get(below.name))
                )
                steps += 1
                if not steps % STEPS:
                    yield
    return total


def _step(below: Below, value: Any, scale: float, values: Values) -> Step:
    found = _objects(value) if isinstance(value, list) else [value]
    share = 1 if below.sized is None else below.sized.share(values)
    return below.kinds, found, scale if share == 1 or not found else scale * ceil(len(found) / share) / len(found)


def _objects(items: list[Any]) -> list[Any]:
    """Those of a list, or of lists within it, without nulls."""
    if None in items:
        items = [item for item in items if item is not None]
    if items and isinstance(items[0], list):
        return [each for item in items for each in _objects(item)]
    return items


def _by_kind(kinds: Sequence[Kind], objects: list[Any]) -> Sequence[tuple[Kind, list[Any]]]:
    """Which objects are of which type, by the names that they have: the dearest where several types may have them."""
    if len(kinds) == 1:
        return ((kinds[0], objects),)
    return [(_kind_of(kinds, each), [each]) for each in objects]


def _kind_of(kinds: Sequence[Kind], found: Mapping[str, Any]) -> Kind:
    names = found.keys()
    return next((kind for kind in kinds if kind.always <= names <= kind.names), kinds[0])
