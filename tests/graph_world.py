"""A schema with everything in it: every sort of type, of resolver and of source."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any

import msgspec
from graphql import (
    GraphQLEnumType,
    GraphQLError,
    GraphQLList,
    GraphQLNonNull,
    GraphQLResolveInfo,
    GraphQLSchema,
    Undefined,
    build_schema,
)

SDL = """
scalar Moment
scalar Fickle
enum Role { USER ADMIN OWNER }
enum Level { LOW HIGH ODD }
input Range { low: Int = 1, high: Int!, role: Role, tags: [String!], inner: Range }
interface Named { name: String, self: Named, peers: [Named] }
interface Late { name: String, tags: [String] }
interface Judged { name: String }
type Plain { id: ID!, text: String, count: Int, ratio: Float!, on: Boolean, role: Role, level: Level!, at: Moment
  ons: [Boolean!], levels: [Level] }
type Node implements Named {
  id: ID!
  name: String
  class: String
  count: Int!
  ratio: Float
  role: Role!
  at: Moment
  at2: Moment!
  fickle: Fickle
  tags: [String!]
  counts: [Int]!
  ratios: [Float!]!
  roles: [Role]
  moments: [Moment]
  grid: [[Int]]
  board: [[Node!]]!
  plain: Plain
  plain2: Plain!
  plains: [Plain!]!
  plains2: [Plain]
  self: Named
  peers: [Named]
  node: Node
  node2: Node!
  nodes: [Node!]
  nodes2: [Node]!
  any: Any
  anys: [Any!]
  late: Late
  lates: [Late]
  judged: Judged
  typed: Typed
  typeds: [Typed!]
  echo(a: Int, b: String = "b", role: Role = ADMIN, range: Range, ids: [ID!], at: Moment, need: Int! = 3): String
  need(x: Int!, flag: Boolean): Int
  slow(x: Int): Int!
  made: Node
  made2: [Node!]
  later: Node
  laters: [Node]!
  lateText: String!
  method(x: Int): String
}
type Tool implements Named & Late & Judged { name: String, self: Named, peers: [Named], tags: [String], weight: Float! }
type Book implements Late & Judged { name: String, tags: [String], pages: Int!, node: Node }
type Typed { name: String!, plain: Plain }
union Any = Node | Tool | Typed | Plain
type Query { node: Node, node2: Node!, nodes: [Node!]!, any: Any, plain: Plain, plains: [Plain]
  text: String, made: Node, later: Node, laters: [Node], echo(a: Int, range: Range): String }
type Mutation { first(x: Int): Node, second(x: Int = 2): Int!, third: Node!, fourth: String }
type Subscription { node: Node, count: Int }
"""


class Trouble(Exception):
    """What resolvers raise."""


class Extended(GraphQLError):
    """An error that brings extensions."""

    def __init__(self) -> None:
        super().__init__("extended", extensions={"code": "TROUBLE"})


class Level(Enum):
    LOW = 1
    HIGH = "high"


class Base:
    """An object by attributes."""


class Computed:
    """An object whose attributes are properties, and may fail."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    @property
    def name(self) -> Any:
        return self.values.get("name")

    @property
    def count(self) -> Any:
        raise Trouble("a property")

    @property
    def text(self) -> Any:
        raise AttributeError("hidden")

    @property
    def tags(self) -> Any:
        return self.values.get("tags")


class Dynamic:
    """An object that makes up its attributes."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_values"][name]
        except KeyError:
            raise AttributeError(name) from None


class Pretender:
    """An object that claims to be a mapping."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    __class__ = property(lambda _self: dict)  # type: ignore[assignment]

    def get(self, name: str) -> Any:
        return self._values.get(name)


class OwnMapping(Mapping[str, Any]):
    """A mapping that is no dict; `ratio` cannot be read."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def __getitem__(self, key: str) -> Any:
        if key == "ratio":
            raise Trouble("a mapping")
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class Struct(msgspec.Struct):
    """A struct of msgspec's."""

    id: Any = None
    name: Any = None
    count: Any = None
    ratio: Any = None
    text: Any = None
    role: Any = None
    level: Any = None
    on: Any = None
    plain: Any = None
    nodes: Any = None
    plains: Any = None
    tags: Any = None
    weight: Any = None


class Awaitable:
    """An awaitable that is no coroutine."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __await__(self) -> Iterator[Any]:
        yield from asyncio.sleep(0).__await__()
        return self.value


class CallableObject:
    """Called where it is a field's value, completed where it is an item."""

    name = "callable"

    def __call__(self, _info: Any) -> Any:
        return "called"


def read(source: Any, name: str) -> Any:
    """A source's value, the way the default resolver reads it."""
    return source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)


def told(info: GraphQLResolveInfo, arguments: Mapping[str, Any]) -> str:
    """All that a resolver is told."""
    path = info.path
    return repr(
        (
            *(info.field_name, info.path.as_list(), path.typename, str(info.return_type), info.parent_type.name),
            *([node.name.value for node in info.field_nodes], sorted(info.fragments), info.operation.operation.value),
            *(sorted(info.variable_values.coerced.items()), sorted(info.variable_values.sources), sorted(arguments)),
            *(sorted(arguments.items(), key=lambda pair: pair[0]), type(info.root_value).__name__),
            *(info.schema.query_type.name, info.is_awaitable(1), info.abort_signal, type(path).__name__),
        )
    )


def resolver(name: str) -> Callable[..., Any]:
    """Reads `name`, after writing down that it was asked."""

    def resolve(source: Any, info: GraphQLResolveInfo, **arguments: Any) -> Any:
        info.context.append(told(info, arguments))
        return read(source, name)

    return resolve


def async_resolver(name: str) -> Callable[..., Any]:
    """The same, later."""

    async def resolve(source: Any, info: GraphQLResolveInfo, **arguments: Any) -> Any:
        info.context.append(told(info, arguments))
        await asyncio.sleep(0)
        value = read(source, name)
        return await value if info.is_awaitable(value) else value

    return resolve


def echo(_source: Any, info: GraphQLResolveInfo, **arguments: Any) -> str:
    """Says what it was told."""
    return told(info, arguments)


def needed(_source: Any, info: GraphQLResolveInfo, x: int, **flag: bool | None) -> int:
    """Counts what it was given."""
    info.context.append((x, sorted(flag.items())))
    return x + len(flag)


def moment(value: Any) -> Any:
    """A custom scalar's output: some values are refused, some come to nothing."""
    match value:
        case "bad":
            raise Extended
        case "none":
            return None
        case "undefined":
            return Undefined
        case "list":
            return [1, {"a": None}]
    return f"at {value}"


def moment_from(value: Any) -> Any:
    if value == "bad":
        raise Trouble("not a moment")
    return ["moment", value]


def fickle(value: Any) -> Any:
    """A custom scalar whose output must be awaited, or is no value that JSON knows."""
    match value:
        case "await":
            return Awaitable("awaited")
        case "fail":
            return Awaitable(asyncio.sleep(0))
        case "object":
            return CallableObject()
    return value


def late_type(value: Any, _info: Any, _type: Any) -> Any:
    """Late's type, awaited for some values."""
    name = read(value, "kind")

    async def later() -> Any:
        await asyncio.sleep(0)
        if name == "Trouble":
            raise Trouble("no type")
        return name

    return later() if read(value, "wait") else name


def judged_type(value: Any, _info: Any, _type: Any) -> Any:
    name = read(value, "kind")
    if name == "Trouble":
        raise Trouble("no type")
    return name


def is_typed(value: Any, _info: Any) -> Any:
    """Whether a value is a Typed; awaited for some."""
    verdict = read(value, "typed")

    async def later() -> Any:
        await asyncio.sleep(0)
        if verdict == "raise":
            raise Trouble("who knows")
        return verdict

    if verdict == "raise":
        raise Trouble("who knows")
    return later() if read(value, "wait") else verdict


def world_schema() -> GraphQLSchema:
    """The schema with its resolvers."""
    schema = build_schema(SDL)
    types: dict[str, Any] = schema.type_map
    types["Moment"].coerce_output_value = moment
    types["Moment"].coerce_input_value = moment_from
    types["Fickle"].coerce_output_value = fickle
    level = GraphQLEnumType("Level", {"LOW": Level.LOW, "HIGH": Level.HIGH, "ODD": [1]})
    types["Plain"].fields["level"].type = GraphQLNonNull(level)
    types["Plain"].fields["levels"].type = GraphQLList(level)
    types["Late"].resolve_type = late_type
    types["Judged"].resolve_type = judged_type
    types["Typed"].is_type_of = is_typed
    for owner in ("Node", "Query", "Mutation", "Subscription"):
        for name, definition in types[owner].fields.items():
            if name == "echo":
                definition.resolve = echo
            elif name == "need":
                definition.resolve = needed
            elif name.startswith("made") or name in ("second", "node2", "moments", "counts"):
                definition.resolve = resolver(name)
            elif name.startswith("later") or name in ("slow", "lateText", "first", "fourth", "plains2"):
                definition.resolve = async_resolver(name)
    return schema
