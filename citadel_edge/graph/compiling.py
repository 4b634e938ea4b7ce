"""When an operation is compiled: after a few runs, once. What its compiler refuses or fails at goes to graphql-core."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

from graphql import DocumentNode, ExecutionResult, GraphQLSchema, OperationDefinitionNode
from structlog.typing import FilteringBoundLogger

from citadel_edge.graph.operations import Operation

WORTH_IT: Final = 3
TROUBLE: Final = "the graph's compiler failed; such operations run uncompiled, and only this one is logged"


class Compiled(Protocol):
    """An operation as a function, with graphql-core's results to the byte."""

    def run(
        self, root: Any, context: Any, variables: Mapping[str, Any]
    ) -> ExecutionResult | Awaitable[ExecutionResult]:
        """Run it. `root` is null, or a subscription's event; `variables` are as sent.

        Values of variables that are of no use make a result whose `data` is null and whose errors have no path.
        """


Compiler = Callable[[GraphQLSchema, DocumentNode, OperationDefinitionNode], Compiled | None]


class Compiling:
    """Compiles what is run often. Without a compiler nothing is."""

    def __init__(self, schema: GraphQLSchema, compiler: Compiler | None, log: FilteringBoundLogger) -> None:
        self._schema = schema
        self._compiler = compiler
        self._log = log
        self._told = False
        self.compiled = 0
        self.refused = 0

    def of(self, operation: Operation) -> Compiled | None:
        """The operation compiled, when it is by now. Call it once for each run."""
        warmth = operation.warmth
        warmth.runs += 1
        if self._compiler is not None and warmth.runs == WORTH_IT:
            warmth.compiled = self._compile(self._compiler, operation)
        compiled: Compiled | None = warmth.compiled
        return compiled

    def give_up(self, operation: Operation) -> None:
        """A compiled operation failed where graphql-core never does: run it uncompiled from now on."""
        operation.warmth.compiled = None

    def _compile(self, compiler: Compiler, operation: Operation) -> Compiled | None:
        try:
            compiled = compiler(self._schema, operation.document, operation.node)
        except Exception:
            if not self._told:
                self._log.exception(TROUBLE, operation=operation.name, hash=operation.shape.hash)
            self._told = True
            compiled = None
        self.compiled += compiled is not None
        self.refused += compiled is None
        return compiled
