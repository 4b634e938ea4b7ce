"""Prompts with the task and the language that a person would name.

The vocabulary was tuned on `prompts.tsv`. On `fresh.tsv` it never was, and never shall be.
"""

from pathlib import Path
from typing import NamedTuple


class Labelled(NamedTuple):
    """`extra`: `json` or `tools` are asked for, or a `long` text stands before it."""

    task: str
    language: str
    text: str
    extra: str = ""


def labelled(name: str = "prompts") -> list[Labelled]:
    lines = (Path(__file__).parent / f"{name}.tsv").read_text("utf-8").splitlines()
    rows = (line.split("\t") for line in lines)
    return [
        Labelled(task, language, text.replace("\\n", "\n").replace("\\\\", "\\"), *extra)
        for task, language, text, *extra in rows
    ]
