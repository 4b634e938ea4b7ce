import asyncio
import gc
import itertools
import time
import tracemalloc
import weakref
from types import SimpleNamespace
from typing import Any

import pytest
from graphql import GraphQLSchema, OperationDefinitionNode, build_schema, parse

from citadel_edge.graph.compiled.operation import BYTES, COMBINATIONS, FIELDS, Compiled, Result, compile_operation
from citadel_edge.graph.compiled.pacing import Pace
from citadel_edge.graph.compiled.sources import Access
from citadel_edge.telemetry.clock import Clock
from graph_runs import UNHURRIED, Case

SDL = """
directive @defer(label: String, if: Boolean! = true) on FRAGMENT_SPREAD | INLINE_FRAGMENT
directive @stream(label: String, initialCount: Int = 0, if: Boolean! = true) on FIELD
interface Named { name: String }
type Leaf implements Named { id: ID!, name: String, size(unit: String = "m"): Float, leaves: [Leaf!]!, next: Leaf }
type Query { leaf: Leaf, leaves: [Leaf!]!, named: [Named], text(of: String, in: [String!]): String }
type Mutation { put(x: Int!): Int!, drop: Leaf! }
type Subscription { leaf: Leaf!, count: Int }
"""


@pytest.fixture
def schema() -> GraphQLSchema:
    return build_schema(SDL)


def case(schema: GraphQLSchema, text: str, root: Any = None) -> Case:
    return Case(schema, parse(text), lambda: root)


def compiled(schema: GraphQLSchema, text: str, pace: Pace = UNHURRIED, **options: Any) -> Compiled | None:
    document = parse(text)
    operation = document.definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    return compile_operation(schema, document, operation, pace=pace, **options)


def covered(schema: GraphQLSchema, text: str, pace: Pace = UNHURRIED) -> Compiled:
    found = compiled(schema, text, pace)
    assert found is not None
    return found


def many(count: int) -> list[dict[str, Any]]:
    return [{"id": str(n), "name": None, "leaves": []} for n in range(count)]


@pytest.mark.parametrize(
    "text",
    [
        "{ leaf { ...F @defer } } fragment F on Leaf { id }",
        "{ leaf { ... @defer(if: false) { id } } }",
        "{ leaves @stream { id } }",
        "query @experimental_disableErrorPropagation { leaf { id } }",
        "{ leaf { id @skip } }",
        '{ leaf { id @include(if: "yes") } }',
        "{ leaf { ...Unknown } }",
        "{" + "leaf {leaves {" * 40 + "id" + "}}" * 40 + "}",
        "{ " + " ".join(f"a{n}: leaf {{ id name }}" for n in range(FIELDS)) + " }",
    ],
)
def test_what_is_not_covered_is_left_to_graphql_core(schema: GraphQLSchema, text: str) -> None:
    assert compiled(schema, text) is None


def test_an_operation_that_the_schema_has_not_is_left_to_graphql_core() -> None:
    assert compiled(build_schema("type Query { a: Int }"), "mutation { a }") is None


def test_fragments_that_unfold_beyond_all_bounds_are_left_to_graphql_core(schema: GraphQLSchema) -> None:
    below = "{{ a: leaves {{ ...F{0} }} b: leaves {{ ...F{0} }} }}"
    spreads = [f"fragment F{n} on Leaf {below.format(n + 1)}" for n in range(20)]
    began = time.monotonic()
    assert compiled(schema, " ".join(["{ leaf { ...F0 } }", *spreads, "fragment F20 on Leaf { id }"])) is None
    assert time.monotonic() - began < 2


def test_a_document_built_with_names_that_are_none_is_left_to_graphql_core(schema: GraphQLSchema) -> None:
    document = parse("{ alias: leaf { id } }")
    alias = document.definitions[0].selection_set.selections[0].alias
    object.__setattr__(alias, "value", "a'] = __import__('os') #")
    assert compile_operation(schema, document, document.definitions[0]) is None


def test_a_run_without_awaitables_is_answered_at_once(schema: GraphQLSchema) -> None:
    run = covered(schema, "{ leaf { id } }")
    assert run.run({"leaf": {"id": 5}}, None) == Result({"leaf": {"id": "5"}}, [])


def test_each_combination_of_conditions_has_its_fields_and_those_beyond_are_left_to_others(
    schema: GraphQLSchema,
) -> None:
    names = [f"v{n}" for n in range(5)]
    fields = " ".join(f"{name}: text @include(if: ${name})" for name in names)
    run = covered(schema, f"query ({', '.join(f'${name}: Boolean = true' for name in names)}) {{ {fields} }}")
    for n, chosen in enumerate(itertools.product([True, False], repeat=5)):
        sent = dict(zip(names, chosen, strict=True))
        expected = {name: "t" for name, shown in sent.items() if shown}
        assert run.run({"text": "t"}, None, sent) == (Result(expected, []) if n < COMBINATIONS else None)
        assert run.ready(sent) == (n >= COMBINATIONS)
    assert len(run._layouts) == COMBINATIONS


def test_a_condition_that_is_null_is_left_to_others_to_refuse(schema: GraphQLSchema) -> None:
    run = covered(schema, "query ($v: Boolean = true) { text @skip(if: $v) }")
    assert run.ready({"v": None})
    assert run.run({"text": "t"}, None, {"v": None}) is None


@pytest.mark.parametrize("odd", [[], {}, "true", 1, float("nan")])
def test_a_condition_that_is_none_is_refused(schema: GraphQLSchema, odd: Any) -> None:
    run = covered(schema, "query ($v: Boolean!) { text @skip(if: $v) }")
    assert run.ready({"v": odd})
    result = run.run({"text": "t"}, None, {"v": odd})
    assert isinstance(result, Result)
    assert len(result.errors) == 1


def test_conditions_that_ask_for_too_much_are_left_to_others(schema: GraphQLSchema) -> None:
    wide = " ".join(f"a{n}: leaf {{ id }}" for n in range(FIELDS))
    run = covered(schema, f"query ($wide: Boolean!) {{ text ... @include(if: $wide) {{ {wide} }} }}")
    for _ in range(2):
        assert run.run({"text": "t"}, None, {"wide": True}) is None
        assert run.run({"text": "t"}, None, {"wide": False}) == Result({"text": "t"}, [])
    assert run.ready({"wide": True})
    assert run.write({"wide": True}) == 0


def test_functions_hold_a_bounded_number_of_bytes_together(schema: GraphQLSchema) -> None:
    names = [f"v{n}" for n in range(4)]
    fields = " ".join(f"{name}: leaf @include(if: ${name}) {{ id }}" for name in names)
    wide = " ".join(f"a{n}: leaf {{ id }}" for n in range(FIELDS // 4))
    run = covered(schema, f"query ({', '.join(f'${name}: Boolean!' for name in names)}) {{ {fields} {wide} }}")
    chosen = [dict(zip(names, each, strict=True)) for each in itertools.product([True, False], repeat=4)]
    answered = [run.run({}, None, each) is not None for each in chosen]
    assert answered[0]
    assert not answered[-1]
    assert run._held_bytes <= BYTES


def test_functions_hold_about_what_is_said_of_them(schema: GraphQLSchema) -> None:
    text = "{ leaf { id name size leaves { id name } } named { name ... on Leaf { id next { id } } } }"
    covered(schema, text).write({})
    gc.collect()
    tracemalloc.start()
    try:
        run = covered(schema, text)
        said = run.write({})
        gc.collect()
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert 0.5 * held < said < 2 * held
    assert run.write({}) == 0


def test_a_type_below_an_interface_that_asks_for_too_much_leaves_all_to_others(schema: GraphQLSchema) -> None:
    wide = " ".join(f"a{n}: leaves {{ id }}" for n in range(FIELDS))
    assert compiled(schema, f"{{ named {{ name ... on Leaf {{ {wide} }} }} }}") is None


def test_a_fragment_with_variables_is_left_to_graphql_core(schema: GraphQLSchema) -> None:
    text = "{ leaf { ...F } } fragment F($unit: String) on Leaf { size(unit: $unit) }"
    document = parse(text, experimental_fragment_arguments=True)
    assert compile_operation(schema, document, document.definitions[0]) is None


def test_variables_that_are_wrong_are_the_whole_answer(schema: GraphQLSchema) -> None:
    result = covered(schema, "query ($x: [String!]!) { text(in: $x) }").run(None, None, {"x": [1]})
    assert isinstance(result, Result)
    assert result.data is None
    assert "Variable '$x'" in result.errors[0].message


def test_variables_coerced_once_serve_many_runs(schema: GraphQLSchema) -> None:
    run = covered(schema, "subscription ($unit: String) { leaf { size(unit: $unit) } }")
    values = run.coerced({"unit": "km"})
    assert not isinstance(values, list)
    for size in (1.5, 2.5):
        leaf = {"size": lambda _info, unit, size=size: size if unit == "km" else None}
        assert run.run({"leaf": leaf}, None, values) == Result({"leaf": {"size": size}}, [])


def test_defaults_that_can_be_changed_are_made_anew(schema: GraphQLSchema) -> None:
    schema.query_type.fields["text"].resolve = lambda _source, _info, **given: (
        given["in"].append("more") or len(given["in"])
    )
    for asked in ('query ($in: [String!] = ["a"]) { text(in: $in) }', '{ text(in: ["a"]) }'):
        run = covered(schema, asked)
        assert [run.run(None, None).data for _ in range(3)] == [{"text": "2"}] * 3


def test_lists_given_as_arguments_are_made_anew_for_every_call(schema: GraphQLSchema) -> None:
    def size(_source: Any, _info: Any, of: list[str]) -> int:
        of.append("more")
        return len(of)

    field = schema.type_map["Leaf"].fields["size"]
    field.args = {"of": schema.query_type.fields["text"].args["in"]}
    field.resolve = size
    run = covered(schema, 'query ($one: String = "1") { leaves { size(of: [$one]) } }')
    assert run.run({"leaves": many(3)}, None).data == {"leaves": [{"size": 2.0}] * 3}


def test_a_run_that_has_ended_keeps_nothing_alive(schema: GraphQLSchema) -> None:
    """Not even until the next collection of garbage: the answer to every request would wait for it."""

    class Context:
        """Something that can be watched."""

    context = Context()
    watched = weakref.ref(context)
    schema.query_type.fields["text"].resolve = lambda _source, info, **_given: type(info.context).__name__
    run = covered(schema, "{ text leaf { id } }")
    gc.disable()
    try:
        assert run.run({"leaf": {"id": "1"}}, context).data == {"text": "Context", "leaf": {"id": "1"}}
        del context
        assert watched() is None
    finally:
        gc.enable()


async def test_an_object_that_has_every_attribute_is_what_the_executor_takes_it_for(schema: GraphQLSchema) -> None:
    class Agreeable:
        def __getattr__(self, name: str) -> str:
            return name

    agreeable = case(schema, "{ leaf { id } leaves { id } }", {"leaf": Agreeable(), "leaves": [Agreeable()]})
    assert await agreeable.by_compiled(agreeable.compiled(), {}) == await agreeable.by_graphql_core({})


def test_functions_written_ahead_are_those_that_run(schema: GraphQLSchema) -> None:
    run = covered(schema, "{ leaf { id leaves { name } } named { name } }")
    assert not run.ready({})
    run.write({})
    assert run.ready({})
    (root,) = run._layouts[()].parts
    written = dict(root.by_access)
    leaf = {"id": "1", "leaves": [{"name": "n"}]}
    assert run.run({"leaf": leaf}, None) == Result({"leaf": leaf, "named": None}, [])
    assert run.run(SimpleNamespace(leaf=leaf), None) == Result({"leaf": leaf, "named": None}, [])
    assert set(written) == {Access.ITEM, Access.ATTRIBUTE}
    assert dict(root.by_access) == written


def test_suggestions_are_hidden_on_demand(schema: GraphQLSchema) -> None:
    text = "query ($x: [String!]!, $of: Named) { text(in: $x) }"
    run = compiled(schema, text, hide_suggestions=True)
    assert run is not None
    assert run.run(None, None, {}).errors


def test_compiled_text_holds_nothing_of_a_request_but_names(schema: GraphQLSchema) -> None:
    secret = "'; import os #"
    run = covered(schema, f'{{ mine: text(of: "{secret}", in: ["{secret}"]) }}')
    seen: list[Any] = []
    schema.query_type.fields["text"].resolve = None
    run.run({"text": lambda _info, **given: seen.append(given)}, None)
    assert seen == [{"of": secret, "in": [secret]}]
    (selection,) = run._layouts[()].parts
    constants = selection.function_for(dict).__code__.co_consts
    assert "mine" in repr(constants)
    assert "import" not in repr(constants)


def test_sources_of_a_class_that_fails_to_be_read_fail_the_field_alone(schema: GraphQLSchema) -> None:
    class Broken:
        id = "1"

        @property
        def name(self) -> str:
            raise KeyError("name")

    result = covered(schema, "{ leaf { id name } }").run({"leaf": Broken()}, None)
    assert isinstance(result, Result)
    assert result.data == {"leaf": {"id": "1", "name": None}}
    assert result.errors[0].path == ["leaf", "name"]


async def test_mutations_run_one_after_the_other(schema: GraphQLSchema) -> None:
    running: list[int] = []

    async def put(_source: Any, _info: Any, x: int) -> int:
        running.append(x)
        assert running == [x]
        await asyncio.sleep(0.001)
        running.remove(x)
        return x

    schema.mutation_type.fields["put"].resolve = put
    run = covered(schema, "mutation { a: put(x: 1) b: put(x: 2) c: put(x: 3) }")
    assert await run.run(None, None) == Result({"a": 1, "b": 2, "c": 3}, [])


async def test_fields_are_awaited_together(schema: GraphQLSchema) -> None:
    both = asyncio.Barrier(2)

    async def text(_source: Any, _info: Any) -> str:
        await both.wait()
        return "met"

    schema.query_type.fields["text"].resolve = lambda source, info, **_given: text(source, info)
    run = covered(schema, "{ a: text b: text }")
    async with asyncio.timeout(5):
        assert await run.run(None, None) == Result({"a": "met", "b": "met"}, [])


@pytest.mark.usefixtures("full_speed")
async def test_a_long_answer_leaves_the_loop_to_others(schema: GraphQLSchema) -> None:
    run = covered(schema, "{ leaves { id name leaves { id } } }", Pace(Clock().monotonic_s))
    root = {"leaves": [{"id": str(n), "leaves": many(3)} for n in range(10_000)]}
    run.write({})
    turns = 0
    ended = False

    async def others() -> None:
        nonlocal turns
        while not ended:
            turns += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        group.create_task(others())
        began = time.monotonic()
        result = await run.run(root, None)
        took_s = time.monotonic() - began
        ended = True
    assert len(result.data["leaves"]) == 10_000
    assert turns > took_s / 0.02


async def test_a_slice_begins_when_a_run_comes_back_to_life(schema: GraphQLSchema) -> None:
    """Not when the run began: what waited for long is not paused for it."""
    now_s = 0.0

    async def leaves(_info: Any) -> list[Any]:
        nonlocal now_s
        await asyncio.sleep(0)
        now_s += 60
        return many(100)

    async def turns(pace: Pace) -> int:
        run = covered(schema, "{ leaves { id name leaves { id } } }", pace)
        task = asyncio.get_running_loop().create_task(run.run({"leaves": leaves}, None))
        for turn in itertools.count():
            await asyncio.sleep(0)
            if task.done():
                assert len(task.result().data["leaves"]) == 100
                return turn
        raise AssertionError

    assert await turns(Pace(lambda: now_s)) == await turns(UNHURRIED)
    assert await turns(Pace(itertools.count().__next__)) > await turns(UNHURRIED)


@pytest.mark.usefixtures("_coroutines_may_be_abandoned")
async def test_a_resolver_that_cancels_leaves_to_run_what_runs_in_the_background(schema: GraphQLSchema) -> None:
    ran: list[str] = []

    async def name(_info: Any) -> str:
        ran.append("name")
        return "n"

    def cancels(_info: Any) -> str:
        raise asyncio.CancelledError

    async def leaf(_info: Any) -> Any:
        return {"next": {"name": name, "id": None}, "id": cancels, "leaves": []}

    text = "{ leaf { next { name id } leaves { id } id } }"
    both = case(schema, text, {"leaf": leaf})
    expected = await both.by_graphql_core({})
    assert ran == ["name"]
    assert await both.by_compiled(both.compiled(), {}) == expected
    assert ran == ["name"] * 2


@pytest.mark.parametrize("turns", range(1, 6))
async def test_a_paused_run_that_is_cancelled_leaves_nothing_behind(schema: GraphQLSchema, turns: int) -> None:
    """Unawaited coroutines and stray tasks fail every test here."""

    async def name(_info: Any) -> str:
        await asyncio.sleep(60)
        return "never"

    over = Pace(itertools.count().__next__, slice_s=0)
    run = covered(schema, "{ leaf { name } leaves { name leaves { name } } named { name } }", over)
    leaf = {"__typename": "Leaf", "name": name}
    root = {"leaf": leaf, "leaves": [{**leaf, "leaves": [leaf] * 3}] * 3, "named": [leaf, leaf]}
    task = asyncio.get_running_loop().create_task(run.run(root, None))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    del root, leaf


async def test_many_parts_of_a_run_share_one_slice_a_turn(schema: GraphQLSchema) -> None:
    """A hundred lists that arrive in the same turn of the loop are not completed in that turn."""
    looks = 0

    def clock() -> int:
        nonlocal looks
        looks += 1
        return looks

    async def leaves(_info: Any) -> list[Any]:
        await asyncio.sleep(0)
        return shared

    shared = many(2_000)
    run = covered(schema, "{ leaves { leaves { id name } } }", Pace(clock, slice_s=200))
    task = asyncio.get_running_loop().create_task(run.run({"leaves": [{"leaves": leaves}] * 100}, None))
    looks_a_turn = []
    while not task.done():
        before = looks
        await asyncio.sleep(0)
        looks_a_turn.append(looks - before)
    assert sum(len(one["leaves"]) for one in task.result().data["leaves"]) == 200_000
    assert max(looks_a_turn) < 500 < sum(looks_a_turn)
