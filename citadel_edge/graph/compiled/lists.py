"""Lists: every item completed in its turn, with a look at the clock now and then.

All loops are the executor's: an item that must be awaited waits until all have been looked at; an item's error becomes
null or ends the list, as the item's type says; what then is left to be awaited is settled in the background.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import GeneratorType
from typing import Any, Final

from graphql import GraphQLLeafType, GraphQLOutputType
from graphql.execution.executor import collect_iterator_awaitables
from graphql.pyutils import is_async_iterable, is_awaitable, is_iterable

from citadel_edge.graph.compiled.completing import Completer
from citadel_edge.graph.compiled.leaves import quick_list
from citadel_edge.graph.compiled.pacing import EVERY, Steps
from citadel_edge.graph.compiled.paths import Trail, as_path
from citadel_edge.graph.compiled.run import Run
from citadel_edge.graph.compiled.selections import Complete, Field, Selection
from citadel_edge.graph.compiled.sources import VALUES

Pick = Callable[[Any, Trail, Run], Complete | None]
"""The function `(item, trail, index, run)` for an item; None when the executor must look at the item."""
PLAIN_LISTS: Final = frozenset({list, tuple})
UNSURE: Final = object()
"""In the place of an item that the executor must look at."""


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list at one level of a field's type. `type` has its own NonNull, `item` that of the items."""

    field: Field
    type: GraphQLOutputType
    item: GraphQLOutputType

    def by_executor(self, items: Any, trail: Trail, run: Run) -> Any:
        """What the executor makes of a value that may be no list."""
        return run.slowly(self.field, self.type, items, trail)


class _Walk:
    """A way through a list: what is left of it, what became of its items, and which of them must be awaited."""

    __slots__ = ("_level", "_run", "_trail", "_waiting", "rest", "results")

    def __init__(self, level: ListOf, items: Iterable[Any], trail: Trail, run: Run) -> None:
        self.rest = iter(items)
        self.results: list[Any] = []
        self._waiting: list[int] = []
        self._level = level
        self._trail = trail
        self._run = run

    def by_executor(self, item: Any) -> None:
        """The executor's way with the next item."""
        level, results = self._level, self.results
        if self._run.slow_item(level.field, level.item, item, (self._trail, len(results), None), results):
            self._waiting.append(len(results) - 1)

    def await_next(self, completed: Any) -> None:
        """The next item is completed but for being awaited."""
        level, here = self._level, (self._trail, len(self.results), None)
        self._waiting.append(len(self.results))
        self.results.append(self._run.guarded(completed, level.field, level.item, here))

    def handle_field_error(self, error: Exception) -> None:
        """The next item's error: noted as null, or raised to end the list."""
        level, here = self._level, (self._trail, len(self.results), None)
        self._run.handle_field_error(error, level.item, level.field.details, as_path(here))
        self.results.append(None)

    def done(self) -> Any:
        """The list, or a coroutine of it."""
        return self._run.gathered(self.results, self._waiting) if self._waiting else self.results

    def abandon(self) -> None:
        """Settle in the background what a failed list leaves to be awaited, of the items not looked at, too."""
        left = [self.results[n] for n in self._waiting]
        left.extend(collect_iterator_awaitables(self.rest, is_awaitable))
        if left:
            self._run.settle_in_background(left)


def is_plain_list(value: Any) -> bool:
    """Whether the items can simply be walked through; everything else is the executor's to judge."""
    if type(value) in PLAIN_LISTS:
        return True
    return is_iterable(value) and not isinstance(value, Exception) and not is_async_iterable(value)


def objects(level: ListOf, selection: Selection) -> Completer:
    """A list of objects."""
    front, asks = selection.front, selection.asks
    rarely = 0 if asks or selection.sliced else EVERY - 1

    def complete(items: Any, trail: Trail, run: Run) -> Steps:
        if not is_plain_list(items):
            return level.by_executor(items, trail, run)
        trail = as_path(trail) if asks else trail
        walk, slices = _Walk(level, items, trail, run), run.slices
        keep = walk.results.append
        try:
            for n, item in enumerate(walk.rest):
                if not n & rarely and slices.now() > slices.until:
                    yield
                function = front[type(item)]
                if function is None:
                    walk.by_executor(item)
                    continue
                try:
                    completed = function(item, trail, n, run)
                    if type(completed) is GeneratorType:
                        completed = yield from completed
                except Exception as error:
                    walk.handle_field_error(error)
                    continue
                if type(completed) is dict:
                    keep(completed)
                else:
                    walk.await_next(completed)
        except Exception:
            walk.abandon()
            raise
        return walk.done()

    return complete


def anything(level: ListOf, pick: Pick) -> Completer:
    """A list of lists, or of values of an abstract type."""

    def complete(items: Any, trail: Trail, run: Run) -> Steps:
        if not is_plain_list(items):
            return level.by_executor(items, trail, run)
        trail = as_path(trail)
        walk, slices = _Walk(level, items, trail, run), run.slices
        try:
            for n, item in enumerate(walk.rest):
                if slices.now() > slices.until:
                    yield
                try:
                    function = pick(item, trail, run)
                    completed = UNSURE if function is None else function(item, trail, n, run)
                    if type(completed) is GeneratorType:
                        completed = yield from completed
                except Exception as error:
                    walk.handle_field_error(error)
                    continue
                _keep(walk, item, completed)
        except Exception:
            walk.abandon()
            raise
        return walk.done()

    return complete


def _keep(walk: _Walk, item: Any, completed: Any) -> None:
    if type(completed) is dict:
        walk.results.append(completed)
    elif completed is UNSURE:
        walk.by_executor(item)
    elif is_awaitable(completed):
        walk.await_next(completed)
    else:
        walk.results.append(completed)


def leaves(level: ListOf, named: GraphQLLeafType) -> Completer:
    """A list of scalars or enums."""
    quick, coerce = quick_list(named), named.coerce_output_value

    def complete(items: Any, trail: Trail, run: Run) -> Any:
        if not is_plain_list(items):
            return level.by_executor(items, trail, run)
        found = quick(items) if quick is not None and type(items) in PLAIN_LISTS else None
        if found is not None:
            return found
        walk = _Walk(level, items, trail, run)
        try:
            for item in walk.rest:
                try:
                    completed = coerce(item) if type(item) in VALUES else UNSURE
                except Exception as error:
                    walk.handle_field_error(error)
                    continue
                _keep(walk, item, completed if type(completed) in VALUES else UNSURE)
        except Exception:
            walk.abandon()
            raise
        return walk.done()

    return complete
