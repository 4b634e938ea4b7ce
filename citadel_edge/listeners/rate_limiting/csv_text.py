"""Comma-separated values (RFC 4180) that a spreadsheet takes for what they are. Pure.

Decides that a text which a spreadsheet would run as a formula gets an apostrophe in front: names of models are what
somebody wrote.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Final

_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def csv_lines(rows: Iterable[Sequence[str | int]]) -> bytes:
    """Rows as lines in UTF-8."""
    text = io.StringIO()
    writer = csv.writer(text)
    for row in rows:
        writer.writerow([_safe(cell) for cell in row])
    return text.getvalue().encode()


def _safe(cell: str | int) -> str | int:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULAS) else cell
