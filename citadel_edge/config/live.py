"""A value that may be replaced while the process runs, and those who want to know."""

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Live(Generic[T]):
    """The current value of something reloadable. Read `.value` at the moment of use; do not keep it."""

    def __init__(self, value: T) -> None:
        self.value = value
        self._watchers: list[Callable[[T], None]] = []

    def watch(self, watcher: Callable[[T], None]) -> None:
        """Call `watcher(new)` after each replacement. Watchers must not raise."""
        self._watchers.append(watcher)

    def replace(self, value: T) -> None:
        """Put a new value in place, then tell the watchers in the order they came."""
        self.value = value
        for watcher in self._watchers:
            watcher(value)
