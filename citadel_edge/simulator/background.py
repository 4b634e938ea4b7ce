"""Tasks that outlive the request or call that began them, and end with the server."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class Background:
    """A task group whose tasks are cancelled when it ends, instead of being waited for."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run it beside."""
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def cancel(self) -> None:
        """End them all."""
        for task in self._tasks:
            task.cancel()


@asynccontextmanager
async def background() -> AsyncIterator[Background]:
    """The owner of background tasks for the time of the context.

    The group is entered and left by hand, so that an error of the body comes out as it is, not wrapped in a group.
    """
    group = asyncio.TaskGroup()
    await group.__aenter__()
    tasks = Background(group)
    try:
        yield tasks
    finally:
        tasks.cancel()
        await group.__aexit__(None, None, None)
