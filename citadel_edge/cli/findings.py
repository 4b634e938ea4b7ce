"""What `check` found out about one thing, and how it is shown. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from citadel_edge.cli.console import Cell, Tone

HEAD = ("DEPENDENCY", "STATE", "LATENCY", "DETAIL")


class State(Enum):
    """How it is. Each has its word and its tone."""

    OK = ("ok", Tone.GOOD)
    EMBEDDED = ("embedded", Tone.GOOD)
    UP = ("up", Tone.GOOD)
    PARTIAL = ("partial", Tone.ODD)
    UNKNOWN = ("unknown", Tone.QUIET)
    ODD = ("warning", Tone.ODD)
    DOWN = ("down", Tone.BAD)
    ABSENT = ("not set", Tone.QUIET)

    def __init__(self, word: str, tone: Tone) -> None:
        self.word = word
        self.tone = tone


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table. What is not `required` never fails the check."""

    name: str
    state: State
    detail: str
    latency_ms: float | None = None
    required: bool = True

    @property
    def fails(self) -> bool:
        """Whether it keeps the edge from its work."""
        return self.required and self.state is State.DOWN

    @property
    def cells(self) -> list[Cell]:
        """The line."""
        latency = "" if self.latency_ms is None else f"{self.latency_ms:.1f} ms"
        tone = Tone.ODD if self.state is State.DOWN and not self.required else self.state.tone
        return [Cell(self.name), Cell(self.state.word, tone), Cell(latency), Cell(self.detail)]


def conclusion(findings: Iterable[Finding]) -> str:
    """The last line."""
    down = [finding.name for finding in findings if finding.fails]
    return f"down: {', '.join(down)}" if down else "all required dependencies are well"
