"""When an operation is compiled: after a few runs, beside the loop. What its compiler refuses goes to graphql-core.

Decides that functions are written for the variables that come, never while a request waits, and that what they hold is
charged to the document that they belong to.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol

from graphql import DocumentNode, GraphQLError, GraphQLSchema, OperationDefinitionNode
from graphql.execution.values import VariableValues
from structlog.typing import FilteringBoundLogger

from citadel_edge.graph.aside import Aside
from citadel_edge.graph.operations import Operation

WORTH_IT: Final = 3
MAX_WAITING: Final = 4
TROUBLE: Final = "the graph's compiler failed; such operations run uncompiled, and only this one is logged"


class Result(Protocol):
    """What a run comes to; graphql-core's own results are such."""

    @property
    def data(self) -> dict[str, Any] | None:
        """Null when nothing was executed, or an error went up to the root."""

    @property
    def errors(self) -> Sequence[GraphQLError] | None:
        """Those without a path are about the request itself: then nothing was executed."""


class Compiled(Protocol):
    """An operation as functions, with graphql-core's results to the byte."""

    def ready(self, variables: Mapping[str, Any]) -> bool:
        """Whether a run with these, as they were sent, finds its functions written, or `write` would be of no help."""

    def write(self, variables: Mapping[str, Any]) -> int:
        """Write the functions of runs with these variables. Blocks: for a thread. Answers about the bytes they hold."""

    def run(
        self, root: Any, context: Any, variables: Mapping[str, Any] | VariableValues
    ) -> Result | Awaitable[Result] | None:
        """Run it, or answer None having done nothing: what these variables ask for is not compiled.

        `root` is null, or a subscription's event; `variables` are as sent, or coerced already.
        """


Compiler = Callable[[GraphQLSchema, DocumentNode, OperationDefinitionNode], Compiled | None]
Charge = Callable[[str, int], None]
Written = tuple[Compiled | None, int]


class Compiling:
    """Compiles what is run often. Without a compiler nothing is. `charge` is told a text and the bytes held for it."""

    def __init__(
        self,
        schema: GraphQLSchema,
        compiler: Compiler | None,
        aside: Aside,
        log: FilteringBoundLogger,
        charge: Charge,
    ) -> None:
        self._schema = schema
        self._compiler = compiler
        self._aside = aside
        self._log = log
        self._charge = charge
        self._told = False
        self.waiting = 0
        self.compiled = 0
        self.refused = 0

    def of(self, operation: Operation, variables: Mapping[str, Any]) -> Compiled | None:
        """The operation compiled, when it is by now for such variables. Call it once for each run."""
        warmth = operation.warmth
        warmth.runs += 1
        if self._compiler is None or warmth.runs < WORTH_IT or warmth.hopeless:
            return None
        compiled: Compiled | None = warmth.compiled
        if compiled is not None and compiled.ready(variables):
            return compiled
        if not warmth.busy and self.waiting < MAX_WAITING:
            make = partial(self._compiler, self._schema, operation.document, operation.node)
            self._begin(partial(_write, compiled, make, variables), operation)
        return None

    def give_up(self, operation: Operation) -> None:
        """A compiled operation failed where graphql-core never does: run it uncompiled from now on."""
        operation.warmth.compiled = None
        operation.warmth.hopeless = True

    def _begin(self, job: Callable[[], Written], operation: Operation) -> None:
        def done(future: asyncio.Future[Written]) -> None:
            self.waiting -= 1
            operation.warmth.busy = False
            if not future.cancelled():
                self._settle(future, operation)

        operation.warmth.busy = True
        self.waiting += 1
        self._aside.do(job).add_done_callback(done)

    def _settle(self, job: asyncio.Future[Written], operation: Operation) -> None:
        warmth, first = operation.warmth, operation.warmth.compiled is None
        if warmth.hopeless:
            return
        try:
            warmth.compiled, held_bytes = job.result()
        except Exception:
            warmth.compiled, held_bytes = None, 0
            if not self._told:
                self._log.exception(TROUBLE, operation=operation.name, hash=operation.shape.hash)
            self._told = True
        warmth.hopeless = warmth.compiled is None
        self._charge(operation.text, held_bytes)
        self.compiled += first and not warmth.hopeless
        self.refused += warmth.hopeless


def _write(compiled: Compiled | None, make: Callable[[], Compiled | None], variables: Mapping[str, Any]) -> Written:
    """The operation compiled, or as it was, with functions for these variables, and the bytes that these hold."""
    found = compiled or make()
    return found, 0 if found is None else found.write(variables)
