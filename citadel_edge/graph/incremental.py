"""The parts of an incremental answer as maps, their errors masked: `pending`, `incremental`, `completed`, `hasNext`."""

from collections.abc import Mapping
from typing import Any

from graphql.execution import (
    CompletedResult,
    IncrementalResult,
    InitialIncrementalExecutionResult,
    SubsequentIncrementalExecutionResult,
)

from citadel_edge.graph.masking import Mask

Part = dict[str, Any]


def first_part(result: InitialIncrementalExecutionResult, mask: Mask, request_id: str) -> Part:
    """The part with the data that was not deferred."""
    return _masked(dict(result.formatted), result, mask, request_id)


def next_part(result: SubsequentIncrementalExecutionResult, mask: Mask, request_id: str) -> Part:
    """A later part."""
    part: Part = dict(result.formatted)
    lists: Mapping[str, list[Any] | None] = {"incremental": result.incremental, "completed": result.completed}
    for name, results in lists.items():
        if results:
            part[name] = [_masked(dict(each.formatted), each, mask, request_id) for each in results]
    return part


def _masked(
    shown: Part,
    result: InitialIncrementalExecutionResult | IncrementalResult | CompletedResult,
    mask: Mask,
    request_id: str,
) -> Part:
    if result.errors:
        shown["errors"] = mask.shown(result.errors, request_id)
    return shown
