"""Interrupting a coroutine at any of its awaits."""

from collections.abc import Callable, Coroutine, Generator
from types import coroutine
from typing import Any


@coroutine
def interrupted(run: Coroutine[Any, Any, Any], *, at: int, interrupt: Callable[[], object]) -> Generator[Any, Any, int]:
    """Drive a coroutine and call `interrupt` at its `at`-th suspension; how often it suspended."""
    suspensions = 0
    send: Callable[[], Any] = lambda: run.send(None)  # noqa: E731 - what to do next
    while True:
        try:
            awaited = send()
        except StopIteration:
            return suspensions
        suspensions += 1
        if suspensions == at:
            interrupt()
        try:
            yield awaited
        except BaseException as error:
            send = lambda error=error: run.throw(error)  # type: ignore[misc]  # noqa: E731
        else:
            send = lambda: run.send(None)  # noqa: E731
