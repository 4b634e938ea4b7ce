"""A small library with its resolvers: enough of a schema to run every kind of operation, and no edge."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest
import structlog
from graphql import GraphQLError, build_schema
from structlog.testing import LogCapture

from citadel_edge.errors import Code, RequestError
from citadel_edge.graph.context import Spent, Tokens
from citadel_edge.graph.running import Graph
from citadel_edge.telemetry.clock import Clock

SCHEMA = """
directive @cost(weight: String!) on
  ARGUMENT_DEFINITION | ENUM | FIELD_DEFINITION | INPUT_FIELD_DEFINITION | OBJECT | SCALAR
directive @listSize(
  assumedSize: Int, slicingArguments: [String!], sizedFields: [String!], requireOneSlicingArgument: Boolean = true
) on FIELD_DEFINITION
directive @defer(if: Boolean! = true, label: String) on FRAGMENT_SPREAD | INLINE_FRAGMENT
directive @stream(if: Boolean! = true, label: String, initialCount: Int! = 0) on FIELD

type Query {
  book(id: ID!): Book
  books(first: Int = 10, last: Int): [Book!]! @listSize(slicingArguments: ["first", "last"])
  shelf(first: Int): Shelf! @listSize(slicingArguments: ["first"], sizedFields: ["books"])
  node(id: ID!): Node
  slow: String
  broken: String
  refusedField: String
  said: String
  leaking: Int
  strict: Strict
  chat: String
  endless: [Int!]
}
type Strict { never: String!, slow: String }
type Shelf { name: String!, books: [Book!]! }
interface Node { id: ID! }
type Author implements Node {
  id: ID!, name: String!, books(first: Int!): [Book!]! @listSize(slicingArguments: ["first"])
}
type Book implements Node {
  id: ID!, title: String!, author: Author, related: [Book!]! @listSize(assumedSize: 5), slow: String
}
input Draft { title: String!, tags: [String!] }
type Mutation { add(draft: Draft!): Book, wait(draft: Draft!): String }
type Subscription { ticks(to: Int!): Int, brokenTicks: Int, silent: Int, forbidden: Int, late: Int }
"""


@dataclass(slots=True)
class Reader:
    """A context, with what the resolvers noticed."""

    request_id: str = "req-1"
    spent: Spent = field(default_factory=Spent)
    noticed: list[str] = field(default_factory=list)


def book(number):
    return {"id": f"b{number}", "title": f"Book {number}", "author": {"id": f"a{number}", "name": f"Author {number}"}}


async def _slow(_, info):
    info.context.noticed.append("began")
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        info.context.noticed.append("cancelled")
        raise
    return "late"


def _broken(_, __):
    raise ValueError("the password is hunter2")


def _refused(_, __):
    raise RequestError(Code.MODEL_NOT_FOUND, "there is no such model", param="model")


def _said(_, __):
    raise GraphQLError("you may not", extensions={"code": "forbidden"})


def _chat(_, info):
    info.context.spent.claim(10).settle(7, Tokens(3, 4, 0.25))
    return "hello"


async def _ticks(_, info, to) -> AsyncIterator[int]:
    try:
        for number in range(to):
            yield {"ticks": number}
            await asyncio.sleep(0)
    finally:
        info.context.noticed.append("closed")


async def _broken_ticks(_, __):
    yield {"brokenTicks": 1}
    raise ValueError("the password is hunter2")


async def _silent(_, info):
    info.context.noticed.append("began")
    try:
        await asyncio.sleep(30)
        yield {"silent": 1}
    finally:
        info.context.noticed.append("closed")


async def _endless(_, info):
    try:
        for number in itertools.count():
            yield number
            await asyncio.sleep(0)
    finally:
        info.context.noticed.append("closed")


def _forbidden(_, __):
    raise RequestError(Code.FORBIDDEN, "not for you")


RESOLVERS = {
    "Query": {
        "book": lambda _, __, id: book(id),  # noqa: A006 - the schema's name
        "books": lambda _, __, first=0, last=0: [book(number) for number in range(last or first)],
        "shelf": lambda _, __, first=0: {"name": "top", "books": [book(number) for number in range(first)]},
        "node": lambda _, __, id: {"__typename": "Book", **book(id)},  # noqa: A006
        "slow": _slow,
        "broken": _broken,
        "refusedField": _refused,
        "said": _said,
        "leaking": lambda *_: "hunter2",
        "strict": lambda *_: {"never": None},
        "chat": _chat,
        "endless": _endless,
    },
    "Strict": {"slow": _slow},
    "Book": {"slow": _slow, "related": lambda *_: [book(1), book(2)]},
    "Mutation": {
        "add": lambda _, __, draft: {"id": "new", "title": draft["title"]},
        "wait": lambda _, info, draft: _slow(draft, info),
    },
}
SOURCES = {"ticks": _ticks, "brokenTicks": _broken_ticks, "silent": _silent, "forbidden": _forbidden, "late": _slow}


def library():
    schema = build_schema(SCHEMA)
    for name, fields in RESOLVERS.items():
        for field_name, resolve in fields.items():
            schema.get_type(name).fields[field_name].resolve = resolve
    for name, source in SOURCES.items():
        schema.subscription_type.fields[name].subscribe = source
    return schema


@pytest.fixture(scope="session")
def schema():
    return library()


@pytest.fixture
def log_output():
    return LogCapture()


@pytest.fixture
def log(log_output):
    return structlog.wrap_logger(None, processors=[log_output], wrapper_class=structlog.make_filtering_bound_logger(0))


@pytest.fixture
def graph_with(schema, log):
    with ExitStack() as made:

        def make(*, settings=None, **more):
            graph = Graph(schema, clock=Clock(), log=log, settings=settings, **more)
            made.callback(graph.close)
            return graph

        yield make


@pytest.fixture
def graph(graph_with):
    return graph_with()


@pytest.fixture
def reader():
    return Reader()
