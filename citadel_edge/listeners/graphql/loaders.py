"""One question for many rows: what resolvers of a list ask for one by one, asked together.

Decides that whoever asks first waits for the rest of its turn of the loop and then asks for all. Refuses to know what
is asked. No task of its own: who asks first does the work, in the operation's own time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")
Fetch = Callable[[Sequence[K]], Awaitable[Mapping[K, V]]]


class Loader(Generic[K, V]):
    """Of one operation: what was found is remembered to its end.

    Args:
        fetch: finds many at once; what it leaves out is not there.
    """

    __slots__ = ("_fetch", "_found", "_wanted")

    def __init__(self, fetch: Fetch[K, V]) -> None:
        self._fetch = fetch
        self._found: dict[K, asyncio.Future[V | None]] = {}
        self._wanted: list[K] = []

    async def load(self, key: K) -> V | None:
        """What there is under the key; None without. Raises as `fetch`."""
        future = self._found.get(key)
        if future is None:
            future = self._found[key] = asyncio.get_running_loop().create_future()
            self._wanted.append(key)
            if len(self._wanted) == 1:
                await self._ask()
        return await future

    async def _ask(self) -> None:
        try:
            await asyncio.sleep(0)  # the others of this turn
            keys, self._wanted = self._wanted, []
            found = await self._fetch(keys)
        except BaseException as error:
            self._give_up(error)
            raise
        for key in keys:
            self._found[key].set_result(found.get(key))

    def _give_up(self, error: BaseException) -> None:
        """Whoever waits fails with whoever asked; a later question is a new one."""
        for key in [key for key, future in self._found.items() if not future.done()]:
            future = self._found.pop(key)
            if isinstance(error, Exception):
                future.set_exception(error)
                future.exception()  # the one who asked raises it
            else:
                future.cancel()
        self._wanted.clear()
