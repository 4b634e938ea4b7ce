"""When an operation is compiled: after a few runs, once. What its compiler refuses or fails at goes to graphql-core."""

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
    """An operation as a function, with graphql-core's results to the byte."""

    def run(self, root: Any, context: Any, variables: Mapping[str, Any] | VariableValues) -> Result | Awaitable[Result]:
        """Run it. `root` is null, or a subscription's event; `variables` are as sent, or coerced already."""


Compiler = Callable[[GraphQLSchema, DocumentNode, OperationDefinitionNode], Compiled | None]


class Compiling:
    """Compiles what is run often. Without a compiler nothing is."""

    def __init__(
        self, schema: GraphQLSchema, compiler: Compiler | None, aside: Aside, log: FilteringBoundLogger
    ) -> None:
        self._schema = schema
        self._compiler = compiler
        self._aside = aside
        self._log = log
        self._told = False
        self.compiled = 0
        self.refused = 0

    def of(self, operation: Operation) -> Compiled | None:
        """The operation compiled, when it is by now. Call it once for each run."""
        warmth = operation.warmth
        warmth.runs += 1
        if self._compiler is not None and warmth.runs == WORTH_IT:
            self._compile(partial(self._compiler, self._schema, operation.document, operation.node), operation)
        compiled: Compiled | None = warmth.compiled
        return compiled

    def give_up(self, operation: Operation) -> None:
        """A compiled operation failed where graphql-core never does: run it uncompiled from now on."""
        operation.warmth.compiled = None

    def _compile(self, compiler: Callable[[], Compiled | None], operation: Operation) -> None:
        """A short text's operation at once, a longer one's beside the loop."""
        if self._aside.is_short(operation.text):
            self._settle(compiler, operation)
            return

        def done(future: asyncio.Future[Compiled | None]) -> None:
            if not future.cancelled():
                self._settle(future.result, operation)

        self._aside.do(compiler).add_done_callback(done)

    def _settle(self, compiled: Callable[[], Compiled | None], operation: Operation) -> None:
        try:
            operation.warmth.compiled = compiled()
        except Exception:
            if not self._told:
                self._log.exception(TROUBLE, operation=operation.name, hash=operation.shape.hash)
            self._told = True
        found = operation.warmth.compiled is not None
        self.compiled += found
        self.refused += not found
