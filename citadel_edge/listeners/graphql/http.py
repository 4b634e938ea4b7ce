"""GraphQL over HTTP, POST and GET, and the published schema."""

from dataclasses import dataclass
from inspect import isawaitable
from typing import Any

import msgspec
from aiohttp import web
from graphql import ExecutionResult, GraphQLError, GraphQLSchema, parse, validate
from graphql.execution import ExperimentalIncrementalExecutionResults, experimental_execute_incrementally

from citadel_edge.edge import EDGE
from citadel_edge.errors import Code, RequestError
from citadel_edge.listeners.common.middlewares import HOLDING, SEAT
from citadel_edge.listeners.common.problems import as_request_error, internal_error
from citadel_edge.listeners.common.routes import BODY, PASSAGE, Handler, Route, principal_of
from citadel_edge.listeners.graphql.context import Context, Parts
from citadel_edge.listeners.graphql.limits import objection
from citadel_edge.listeners.graphql.metrics import GraphQLMetrics

MAX_CHARACTERS = 15_000
MAX_TOKENS = 1_000
MAX_ERRORS = 20


class Body(msgspec.Struct):
    """The parameters of a GraphQL request."""

    query: str
    variables: dict[str, Any] | None = None
    operationName: str | None = None  # noqa: N815 - the specification's spelling
    extensions: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class GraphQL:
    """The HTTP transport of one schema."""

    schema: GraphQLSchema
    metrics: GraphQLMetrics
    parts: Parts

    async def post(self, request: web.Request) -> web.StreamResponse:
        """`POST /graphql`."""
        try:
            body = msgspec.json.decode(request[BODY], type=Body)
        except (msgspec.DecodeError, RecursionError) as error:
            raise RequestError(Code.INVALID_REQUEST, f"the body is no GraphQL request: {error}") from error
        return await self._answer(request, body)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """`GET /graphql?query=…`; there are no mutations to refuse yet."""
        query = request.query.get("query")
        if query is None:
            raise RequestError(Code.INVALID_REQUEST, "send `?query=…`, or POST a JSON body", param="query")
        variables = _variables(request.query.get("variables"))
        return await self._answer(request, Body(query, variables, request.query.get("operationName")))

    async def _answer(self, request: web.Request, body: Body) -> web.StreamResponse:
        if len(body.query) > MAX_CHARACTERS:
            raise RequestError(
                Code.INVALID_REQUEST, f"the query is over {MAX_CHARACTERS} characters; split it", param="query"
            )
        clock = request.app[EDGE].clock
        began_s = clock.monotonic_s()
        result = await self._run(request, body)
        seconds = clock.monotonic_s() - began_s
        self.metrics.ended(data=result.data is not None, errors=bool(result.errors), seconds=seconds)
        return web.Response(
            body=msgspec.json.encode(_masked(result, request)),
            status=400 if result.data is None and result.errors else 200,
            content_type="application/graphql-response+json",
            charset="utf-8",
        )

    async def _run(self, request: web.Request, body: Body) -> ExecutionResult:
        try:
            document = parse(body.query, max_lexical_tokens=MAX_TOKENS)
        except GraphQLError as error:
            return ExecutionResult(None, [error])
        refused = objection(document)
        if refused is not None:
            return ExecutionResult(None, [GraphQLError(refused, extensions={"code": Code.INVALID_REQUEST.text})])
        mistakes = validate(self.schema, document, max_errors=MAX_ERRORS)
        if mistakes:
            return ExecutionResult(None, mistakes)
        done = experimental_execute_incrementally(
            self.schema,
            document,
            context_value=self._context(request),
            variable_values=body.variables,
            operation_name=body.operationName,
        )
        result = await done if isawaitable(done) else done
        if isinstance(result, ExperimentalIncrementalExecutionResults):
            return ExecutionResult(
                None, [GraphQLError("This transport answers at once: send no @defer and no @stream.")]
            )
        return result

    def _context(self, request: web.Request) -> Context:
        passage = request[PASSAGE]
        return Context(
            parts=self.parts,
            principal=principal_of(request),
            request_id=passage.request_id,
            traceparent=passage.trace.header,
            seat=request[SEAT],
            hold=request[HOLDING].hold,
            note=passage.facts.update,
        )


def graphql_routes(built: GraphQLSchema, *, text: str, metrics: GraphQLMetrics, parts: Parts) -> list[Route]:
    """The graph's routes. `text`: the schema as written."""

    async def schema(_: web.Request) -> web.StreamResponse:
        return web.Response(text=text, content_type="text/plain")

    transport = GraphQL(built, metrics, parts)
    described: tuple[tuple[str, Handler, bool], ...] = (("POST", transport.post, True), ("GET", transport.get, False))
    return [
        *(
            Route(method=method, path="/graphql", handler=handler, summary="The graph", json_body=json_body)
            for method, handler, json_body in described
        ),
        Route(method="GET", path="/schema.graphql", handler=schema, summary="The schema", role=None),
    ]


def _variables(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise RequestError(Code.INVALID_REQUEST, "variables is no JSON object", param="variables") from error


def _masked(result: ExecutionResult, request: web.Request) -> dict[str, Any]:
    """Errors of ours carry the request's id and no inner text."""
    shown = result.formatted
    for error, formatted in zip(result.errors or (), shown.get("errors", ()), strict=True):
        cause = error.original_error
        if cause is None or isinstance(cause, GraphQLError):
            continue
        told = as_request_error(cause) or internal_error()
        formatted["message"] = told.message
        formatted["extensions"] = {"code": told.code.text, "request_id": request[PASSAGE].request_id}
    return dict(shown)
