"""Many small things at once, but not too many: what starts in one turn of the loop travels to Redis together."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

T = TypeVar("T")
TOGETHER: Final = 64


async def each(items: Sequence[T], do: Callable[[T], Awaitable[bool]]) -> bool:
    """Do it with each; whether all went well. After a batch in which one did not, no further batch is begun."""
    for start in range(0, len(items), TOGETHER):
        batch = items[start : start + TOGETHER]
        if len(batch) == 1:
            went_well = await do(batch[0])
        else:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(_one(do, item)) for item in batch]
            went_well = all(task.result() for task in tasks)
        if not went_well:
            return False
    return True


async def _one(do: Callable[[T], Awaitable[bool]], item: T) -> bool:
    return await do(item)
