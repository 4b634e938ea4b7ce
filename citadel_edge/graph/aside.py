"""One thread beside the loop, for work on documents that would hold the loop for tens of milliseconds.

One, so that hostile documents get no more of the machine than one thread's share; the interpreter hands the loop back
to others every few milliseconds meanwhile.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

T = TypeVar("T")
AT_ONCE_CHARACTERS: Final = 800


class Aside:
    """The thread. Belongs to one loop; close it in the end."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="graphql-aside")

    @staticmethod
    def is_short(text: str) -> bool:
        """Whether work on this text takes a few milliseconds at most, and may be done at once."""
        return len(text) <= AT_ONCE_CHARACTERS

    def do(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Have it done; nobody need wait for it."""
        return asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self) -> None:
        """Stop the thread; what it is at is not waited for, the rest is cancelled."""
        self._thread.shutdown(wait=False, cancel_futures=True)
