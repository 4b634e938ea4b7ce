"""One question for many rows: asked together, failed together, given up together."""

import asyncio

import pytest

from citadel_edge.listeners.graphql.loaders import Loader


class Asked:
    """Answers upper-case letters; told what it was asked for."""

    def __init__(self):
        self.questions = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure = None

    async def fetch(self, keys):
        self.questions.append(list(keys))
        await self.gate.wait()
        if self.failure:
            raise self.failure
        return {key: key.upper() for key in keys if key != "none"}


async def test_what_is_wanted_in_one_turn_is_one_question():
    asked = Asked()
    loader = Loader(asked.fetch)
    assert await asyncio.gather(*map(loader.load, "abca")) == ["A", "B", "C", "A"]
    assert await loader.load("b") == "B"
    assert await loader.load("none") is None
    assert asked.questions == [["a", "b", "c"], ["none"]]


async def test_a_question_that_fails_fails_for_all_and_may_be_asked_again():
    asked = Asked()
    asked.failure = OSError("away")
    loader = Loader(asked.fetch)
    found = await asyncio.gather(*map(loader.load, "ab"), return_exceptions=True)
    assert [str(error) for error in found] == ["away", "away"]
    asked.failure = None
    assert await loader.load("a") == "A"


async def test_an_operation_that_is_given_up_leaves_nobody_waiting():
    asked = Asked()
    asked.gate.clear()
    loader = Loader(asked.fetch)
    first, second = (asyncio.get_running_loop().create_task(loader.load(key)) for key in "ab")
    await asyncio.sleep(0.01)
    first.cancel()
    for task in (first, second):
        with pytest.raises(asyncio.CancelledError):
            await task
