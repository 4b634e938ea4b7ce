"""Compiled operations and graphql-core's executor give the same bytes, on documents and data made up at random."""

import asyncio
import itertools
import json
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from graphql import GraphQLSchema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from citadel_edge.graph.compiled.pacing import Pace
from graph_asking import variables
from graph_runs import Case, made_up
from graph_world import world_schema

SEEDS = st.integers(min_value=0, max_value=2**32)
TROUBLE = st.sampled_from([0, 0, 3, 10, 25])
SLOW = st.sampled_from([0, 0, 5, 30])
pytestmark = pytest.mark.usefixtures("_coroutines_may_be_abandoned")
OFTEN = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def schema() -> GraphQLSchema:
    return world_schema()


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    with asyncio.Runner(debug=False) as runner:
        yield runner


@OFTEN
@given(seed=SEEDS, trouble=TROUBLE, slow=SLOW, cancel_after=st.sampled_from([None, None, None, 0, 1, 2, 3]))
def test_answers_errors_and_calls_are_the_executors(  # noqa: PLR0917 - fixtures and strategies
    schema: GraphQLSchema, loop: asyncio.Runner, seed: int, trouble: int, slow: int, cancel_after: int | None
) -> None:
    rng = Random(seed)
    case = made_up(schema, rng, trouble=trouble, slow=slow)
    loop.run(_same_answers(case, [variables(rng, trouble) for _ in range(2)], cancel_after))


async def _same_answers(case: Case, sent: list[dict[str, Any]], cancel_after: int | None) -> None:
    compiled = case.compiled()
    for given_ in sent:
        expected = await case.by_graphql_core(given_, cancel_after)
        assert await case.by_compiled(compiled, given_, cancel_after) == expected


@OFTEN
@given(seed=SEEDS, trouble=TROUBLE, slow=SLOW)
def test_pauses_change_nothing_but_the_order_of_what_is_awaited(
    schema: GraphQLSchema, loop: asyncio.Runner, seed: int, trouble: int, slow: int
) -> None:
    rng = Random(seed)
    case = made_up(schema, rng, trouble=trouble, slow=slow)
    loop.run(_same_though_paused(case, variables(rng, trouble)))


async def _same_though_paused(case: Case, sent: dict[str, Any]) -> None:
    ever_over = Pace(itertools.count().__next__, slice_s=0)
    expected = await case.by_graphql_core(sent)
    found = await case.by_compiled(case.compiled(ever_over), sent)
    if not expected.awaited or (isinstance(expected.body, bytes) and not json.loads(expected.body)["errors"]):
        assert found.body == expected.body
