"""Places for connections that mostly wait: WebSockets and live events. Bounded, and apart from the budget's seats."""

from collections.abc import Iterator
from contextlib import contextmanager

from citadel_edge.config.shape import ListenerName
from citadel_edge.errors import Code, RequestError


class Subscriptions:
    """How many one door holds."""

    def __init__(self, listener: ListenerName) -> None:
        self.open = 0
        self._listener = listener

    @contextmanager
    def one(self, most: int) -> Iterator[None]:
        """A place, inside. RequestError OVERLOADED when all are taken."""
        if self.open >= most:
            message = f"{self._listener} holds {most} subscriptions (http.max_subscriptions); try again later"
            raise RequestError(Code.OVERLOADED, message, retry_after_s=5)
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1
