"""A task group whose single failure is raised as itself: who catches a `StartError` need not know of groups."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def plain_group() -> AsyncIterator[asyncio.TaskGroup]:
    """A `TaskGroup`; several failures at once stay a group."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as failures:
        if len(failures.exceptions) == 1:
            raise failures.exceptions[0] from None
        raise
