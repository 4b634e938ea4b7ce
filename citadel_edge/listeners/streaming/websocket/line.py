"""The line to a client that speaks `citadel.v1`."""

from citadel_edge.listeners.common.websocket.line import Line as PlainLine
from citadel_edge.listeners.streaming.websocket.messages import Said, encode


class Line(PlainLine):
    """One client's."""

    async def say(self, message: Said, place: tuple[str, str] | None = None) -> None:
        """Send a message. Raises as `send`."""
        await self.send(encode(message), place)
