"""Where something stands in a configuration: `upstreams[1].url`. Pure."""

import re
from typing import TypeAlias

Step: TypeAlias = str | int
Steps: TypeAlias = tuple[Step, ...]

_STEP = re.compile(r"(?P<dot>\.?)(?P<name>[^.\[\]]+)|\[(?P<index>[^\[\]]+)\]")
_MAX_DIGITS = 9


def written(steps: Steps) -> str:
    """`("upstreams", 1, "url")` as `upstreams[1].url`; of nothing, nothing."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")


def read(text: str) -> Steps:
    """`upstreams[1].url` as steps; `upstreams[gpu-a].url` names an item instead of counting it.

    Raises:
        ValueError: the text is no path.
    """
    steps: list[Step] = []
    position = 0
    while position < len(text) or not steps:
        match = _STEP.match(text, position)
        if match is None or (match["name"] and bool(match["dot"]) != bool(steps)):
            raise ValueError(f"expected a path as in routing.retries or upstreams[gpu-a].slots, got {text!r}")
        steps.append(match["name"] or _index(match["index"]))
        position = match.end()
    return tuple(steps)


def _index(text: str) -> Step:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS else text
