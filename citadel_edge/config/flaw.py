"""What is wrong with a text, before it is known which file it came from. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Flaw:
    """A mistake in a text: by its line, by its path in the data, or of the whole."""

    message: str
    line: int | None = None
    path: str = ""
