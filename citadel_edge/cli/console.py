"""Printing for people on a terminal and for programs behind a pipe.

Decides when to use colours: on a terminal, unless `NO_COLOR` (no-color.org) is set. Refuses to know what is printed.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TextIO


class Tone(Enum):
    """What a cell says about its row, as an SGR code."""

    PLAIN = ""
    GOOD = "32"
    ODD = "33"
    BAD = "31"
    QUIET = "2"
    HEAD = "1"


@dataclass(frozen=True, slots=True)
class Cell:
    """A piece of text with a tone."""

    text: str
    tone: Tone = Tone.PLAIN


def uses_colours(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether colours may be sent there."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def table(head: Sequence[str], rows: Sequence[Sequence[Cell]], *, coloured: bool) -> str:
    """Lines of columns, two spaces apart, no blanks at their ends. A newline in a cell becomes a space."""
    cells = [[Cell(text, Tone.HEAD) for text in head], *rows]
    plain = [[Cell(" ".join(cell.text.split()), cell.tone) for cell in row] for row in cells]
    widths = [max(len(row[column].text) for row in plain) for column in range(len(head))]
    return "\n".join(_line(row, widths, coloured=coloured) for row in plain)


def show_table(head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Print a table to standard output."""
    print(table(head, rows, coloured=uses_colours(sys.stdout, os.environ)))


def show_fields(fields: Mapping[str, Cell]) -> None:
    """Print one thing to standard output: a line a field, its name before it."""
    width = max(map(len, fields), default=0)
    coloured = uses_colours(sys.stdout, os.environ)
    for name, cell in fields.items():
        print(_line([Cell(name, Tone.HEAD), cell], [width, 0], coloured=coloured))


def _line(row: Sequence[Cell], widths: Sequence[int], *, coloured: bool) -> str:
    last = max((column for column, cell in enumerate(row) if cell.text), default=0)
    padded = (
        (cell, cell.text if column == last else cell.text.ljust(width))
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        if column <= last
    )
    return "  ".join(_painted(text, cell.tone) if coloured else text for cell, text in padded)


def _painted(text: str, tone: Tone) -> str:
    return f"\x1b[{tone.value}m{text}\x1b[0m" if tone.value else text
