"""Set-up that every suite shares: the guards of `guards`, and nothing of any one room."""

import asyncio
import asyncio.constants
import gc
import inspect
import os
from collections.abc import AsyncIterator, Iterator

import pytest
import structlog
from hypothesis import settings

from measured import measured  # isort: skip - before the package, which it measures

from citadel_edge.process.run import COLLECT_AFTER
from guards import BlockingWatch, LoopbackOnly, children, proxy_free, stray_children, stray_tasks

# A run that judges a change must not find an old fault by chance; a developer's run goes on searching.
settings.register_profile("judging", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("judging")

LONG = (
    "tests/process/",
    "tests/tooling/",
    "tests/benchmarks/",
    "tests/clients/",
    "routing/test_limits.py",
    "test_outage.py",
)
DEBUG_FRAMES = 2
"""Who made a handle or a coroutine is told by its last frames. asyncio keeps ten, at a sixth of a run's time."""
LOOPBACK_ONLY = pytest.StashKey[LoopbackOnly]()


def pytest_configure(config: pytest.Config) -> None:
    proxy_free(os.environ)
    asyncio.constants.DEBUG_STACK_DEPTH = DEBUG_FRAMES
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)  # others open files
    structlog.configure(processors=[structlog.processors.add_log_level, plain])
    config.stash[LOOPBACK_ONLY] = LoopbackOnly()


def pytest_sessionfinish() -> None:
    if measured is not None:
        measured.report()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first: at the end of a run no worker is left alone with one."""
    items.sort(key=lambda item: not any(folder in item.nodeid for folder in LONG))


@pytest.fixture(scope="session", autouse=True)
def loopback_only(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test connects or resolves beyond this machine."""
    guard = request.config.stash[LOOPBACK_ONLY]
    guard.on = True
    yield
    guard.on = False


@pytest.fixture(scope="session")
def blocking_watch() -> Iterator[BlockingWatch]:
    with BlockingWatch("citadel_edge").active() as watch:
        yield watch


@pytest.fixture(autouse=True)
def no_blocking_on_the_loop(blocking_watch: BlockingWatch) -> Iterator[None]:
    """A blocking call of ours on a running loop fails the test, also when someone swallowed the error."""
    blocking_watch.take()
    yield
    if seen := blocking_watch.take():
        pytest.fail("blocked the event loop:\n" + "\n".join(seen), pytrace=False)


@pytest.fixture(autouse=True)
def no_stray_children() -> Iterator[None]:
    """A test ends the child processes it started; those of wider fixtures were there before."""
    before = children()
    yield
    if strays := stray_children(before):
        pytest.fail("left child processes running:\n" + "\n".join(strays), pytrace=False)


@pytest.fixture
async def full_speed() -> None:
    """For tests that are about many requests or tokens at once: asyncio's debugging makes each ten times as dear."""
    asyncio.get_running_loop().set_debug(False)


@pytest.fixture
def collecting_as_the_process_does() -> Iterator[None]:
    """What the tests hold is none of the collector's business, as what the process made at its start is not."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.fixture
async def _loop_is_left_empty() -> AsyncIterator[None]:
    yield
    if strays := await stray_tasks():
        pytest.fail("left tasks running:\n" + "\n".join(strays), pytrace=False)


@pytest.fixture(autouse=True)
def no_stray_tasks(request: pytest.FixtureRequest) -> None:
    """An async test ends the tasks it started; a plain one is spared the loop."""
    if inspect.iscoroutinefunction(getattr(request.node, "obj", None)):
        request.getfixturevalue("_loop_is_left_empty")
