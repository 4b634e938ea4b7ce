"""What `check` learns of embedded parts from the edge that runs on this data directory, over its control socket.

Without such an edge there is nothing to connect to: then only what is installed can be said.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from citadel_edge.cli.findings import Finding, State
from citadel_edge.control.client import request
from citadel_edge.control.protocol import FILE_NAME, Command, ControlError, NotRunning
from citadel_edge.health.verdict import Condition

PATIENCE_S = 3.0
_STATES = {
    Condition.UP.value: State.UP,
    Condition.PARTIAL.value: State.PARTIAL,
    Condition.DOWN.value: State.DOWN,
}


async def look_at_embedded(installed: Callable[[], Finding], *, check: str, data_dir: Path) -> Finding:
    """The part as the running edge sees it under the name `check`; else what is `installed`, a look at the disk."""
    finding = await asyncio.to_thread(installed)
    if finding.fails:  # whatever runs now, the next start would not come up
        return finding
    try:
        status = await request(data_dir / FILE_NAME, Command.STATUS, timeout_s=PATIENCE_S)
    except NotRunning:
        return finding
    except ControlError as error:
        return replace(finding, detail=f"{finding.detail}; the running edge: {error}")
    seen = status["checks"].get(check)
    return finding if seen is None else as_running(finding.name, seen)


def as_running(name: str, seen: Mapping[str, Any]) -> Finding:
    """A check of `status` as a line of the table."""
    state = _STATES.get(seen["status"], State.UNKNOWN)
    return Finding(name, state, f"in the running edge: {seen['detail']}", seen.get("latency_ms"))
