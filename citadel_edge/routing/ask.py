"""What a request asks of a replica, as far as choosing one goes. Values only."""

from typing import Final

from msgspec import Struct

CLEARLY: Final = 2.0
"""A prompt's size is an estimate: it does not fit where it is so many times as large as the room."""


class Ask(Struct, frozen=True, kw_only=True, gc=False):
    """One request.

    Attributes:
        tokens_in: of the prompt, or of several together, estimated.
        context_tokens: of the largest of them, which a replica reads at once, estimated.
        tokens_out: of the answer, expected.
        stream: whether the first token counts for itself.
        session: the name under which the client asks for affinity.
        prefix: chained hashes of the prompt's blocks, by `routing.affinity.blocks`.
        prefix_share: the part of the prompt, 0 to 1, that those blocks cover.
        hedge_of: the replica that is asked the same already, and is not asked again.
    """

    tokens_in: int = 0
    context_tokens: int = 0
    tokens_out: int = 0
    stream: bool = False
    session: str | None = None
    prefix: tuple[int, ...] = ()
    prefix_share: float = 1.0
    hedge_of: str | None = None
