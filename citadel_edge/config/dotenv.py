"""The text of a `.env` file to variables. Pure.

Decides what a line may look like: `NAME=value`, `export NAME=value`, a value in `'…'` as it stands, in `"…"` with
backslash escapes, ` # comment` behind the value. Nothing is expanded. Refuses to know what the names mean.
"""

import re
from dataclasses import dataclass

from citadel_edge.config.flaw import Flaw

_LINE = re.compile(
    r"""\s*(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*
    (?:'(?P<literal>[^']*)'|"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^'"\s#][^\n]*?|))
    (?:\s+\#.*)?\s*""",
    re.VERBOSE,
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


@dataclass(frozen=True, slots=True)
class Dotenv:
    """The variables, a later line over an earlier one, and what is wrong."""

    variables: dict[str, str]
    flaws: tuple[Flaw, ...] = ()


def parse(text: str) -> Dotenv:
    """Read all lines. A bad line is never quoted: it is likely to hold a secret."""
    variables: dict[str, str] = {}
    flaws: list[Flaw] = []
    for number, line in enumerate(text.splitlines(), start=1):
        match = _LINE.fullmatch(line)
        if match is not None:
            variables[match["name"]] = _value(match)
        elif line.strip() and not line.lstrip().startswith("#"):
            flaws.append(Flaw("expected NAME=value, with quotes around a value with quotes or '#'", line=number))
    return Dotenv(variables, tuple(flaws))


def _value(match: re.Match[str]) -> str:
    if match["quoted"] is not None:
        return re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[1]), match["quoted"])
    return match["literal"] if match["literal"] is not None else match["plain"]
