"""Where something stands in a configuration: `upstreams[1].url`. Pure."""

import re
from typing import TypeAlias

Step: TypeAlias = str | int
Steps: TypeAlias = tuple[Step, ...]

_STEP = re.compile(r"(?P<name>[^.\[\]]+)|\[(?P<index>[^\[\]]+)\]|(?P<dot>\.)")


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
    while position < len(text):
        match = _STEP.match(text, position)
        if match is None or (match["dot"] and (not steps or match.end() == len(text))):
            raise ValueError(f"expected a path as in routing.retries or upstreams[gpu-a].slots, got {text!r}")
        if index := match["index"]:
            steps.append(int(index) if index.isascii() and index.isdecimal() and len(index) <= 9 else index)  # noqa: PLR2004 - no list is longer
        elif name := match["name"]:
            steps.append(name)
        position = match.end()
    if not steps:
        raise ValueError("expected a path as in routing.retries, got nothing")
    return tuple(steps)
