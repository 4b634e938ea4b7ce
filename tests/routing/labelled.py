"""Prompts with the task and the language that a person would name. Half of them the vocabulary was tuned on."""

from pathlib import Path
from typing import NamedTuple


class Labelled(NamedTuple):
    task: str
    language: str
    text: str


def labelled() -> list[Labelled]:
    lines = (Path(__file__).parent / "prompts.tsv").read_text("utf-8").splitlines()
    rows = (line.split("\t") for line in lines)
    return [Labelled(task, language, text.replace("\\n", "\n").replace("\\\\", "\\")) for task, language, text in rows]
