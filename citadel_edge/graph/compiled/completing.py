"""What follows once a field's value is known, as the executor would do it.

Two sorts of functions. A *completer* takes `(value, trail, run)` and completes a value of one type; an error leaves it.
A *tail* takes `(value, place of the object, index of the object, run)` and completes a field; an error becomes null or
a located error, as the field's type says. Those that may take long are generators.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from graphql import GraphQLOutputType
from graphql.pyutils import is_awaitable

from citadel_edge.graph.compiled.pacing import Steps
from citadel_edge.graph.compiled.paths import Trail, as_path, within
from citadel_edge.graph.compiled.run import Run
from citadel_edge.graph.compiled.selections import Field

Completer = Callable[[Any, Trail, Run], Any]


def slow_completer(field: Field, type_: GraphQLOutputType) -> Completer:
    """The executor's own completion."""

    def complete(value: Any, trail: Trail, run: Run) -> Any:
        return run.slowly(field, type_, value, trail)

    return complete


@dataclass(frozen=True, slots=True)
class Tail:
    """What follows a field's value.

    `sliced`: `complete` is a generator, and `in_slices` is used, not `finish`. `asks`: it wants a path, not a trail.
    """

    field: Field
    complete: Completer
    sliced: bool
    asks: bool

    def trail(self, place: Trail | None, index: int | None) -> Trail:
        """Where the field stands, of the object at `place`, or of the item `index` of the list there."""
        trail = (within(place, index), self.field.key, self.field.parent.name)
        return as_path(trail) if self.asks else trail

    def fail(self, error: Exception, place: Trail | None, index: int | None, run: Run) -> None:
        """Note an error as null, or send it upward."""
        run.failed(error, self.field, self.field.type, self.trail(place, index))

    def guard(self, completed: Any, place: Trail | None, index: int | None, run: Run) -> Any:
        """A coroutine of what is completed already but for being awaited."""
        return run.guarded(completed, self.field, self.field.type, self.trail(place, index))

    def finish(self, value: Any, place: Trail | None, index: int | None, run: Run) -> Any:
        """Complete the field."""
        trail = self.trail(place, index)
        try:
            value = self._called(value, trail, run)
            if is_awaitable(value):
                return self._awaited(value, trail, run)
            completed = self.complete(value, trail, run)
            if is_awaitable(completed):
                return run.guarded(completed, self.field, self.field.type, trail)
        except Exception as error:
            run.handle_field_error(error, self.field.type, self.field.details, as_path(trail))
            return None
        return completed

    def in_slices(self, value: Any, place: Trail | None, index: int | None, run: Run) -> Steps:
        """Complete the field, with pauses."""
        trail = self.trail(place, index)
        try:
            value = self._called(value, trail, run)
            if is_awaitable(value):
                return self._awaited(value, trail, run)
            completed = yield from self.complete(value, trail, run)
            if is_awaitable(completed):
                return run.guarded(completed, self.field, self.field.type, trail)
        except Exception as error:
            run.handle_field_error(error, self.field.type, self.field.details, as_path(trail))
            return None
        return completed

    def _called(self, value: Any, trail: Trail, run: Run) -> Any:
        """What the default resolver makes of a value that can be called."""
        if self.field.resolve is None and callable(value):
            return value(run.info(self.field, trail))
        return value

    def _awaited(self, value: Any, trail: Trail, run: Run) -> Any:
        run.slices.made.append(value)
        return run.kept(self._await(value, trail, run))

    async def _await(self, value: Any, trail: Trail, run: Run) -> Any:
        try:
            completed = self.complete(await value, trail, run)
            if self.sliced:
                completed = await run.slices.drive(completed)
            if is_awaitable(completed):
                completed = await completed
        except Exception as error:
            run.handle_field_error(error, self.field.type, self.field.details, as_path(trail))
            return None
        return completed
