"""A `ChatInput` as what the pipeline takes: OpenAI's body, what becomes of it when nobody reads, and the call.

Decides which fields are the graph's own; what else an engine takes goes into `extra`. Refuses to know what is answered.
"""

from typing import Any, Final

import msgspec

from citadel_edge.accounts.once import checked_key
from citadel_edge.completions.call import Call, Report
from citadel_edge.completions.keeping import GRACE_S, ON_DISCONNECT, policy_of
from citadel_edge.completions.producing import once_of
from citadel_edge.completions.request import CompletionRequest, Kind, parse
from citadel_edge.config.shape import Objective
from citadel_edge.errors import Code, RequestError
from citadel_edge.listeners.common.completions import LONGEST_SESSION, MAX_TIMEOUT_S
from citadel_edge.listeners.graphql.context import Context
from citadel_edge.listeners.graphql.resolvers.told import camel
from citadel_edge.streams.values import Once, OnDisconnect, Policy

ENDPOINT: Final = "/graphql"
_SAME_NAME: Final = (
    "model",
    "max_tokens",
    "temperature",
    "top_p",
    "seed",
    "stop",
    "presence_penalty",
    "frequency_penalty",
    "tools",
    "tool_choice",
    "response_format",
    ON_DISCONNECT,
    GRACE_S,
)
_NEWER: Final = "max_completion_tokens"
"""OpenAI's newer name of the same bound."""
_NOT_EXTRA: Final = frozenset((*_SAME_NAME, "messages", "stream", "stream_options", "n"))
_KEPT: Final = Policy(on_disconnect=OnDisconnect.GRACE)


def policy_and_request(given: dict[str, Any], default: Policy = _KEPT) -> tuple[CompletionRequest, Policy]:
    """The chat, streamed, and what becomes of it when nobody reads.

    Raises:
        RequestError: INVALID_REQUEST, naming the field.
    """
    return policy_of(parse(_body(given), Kind.CHAT).streaming(True), default)


def call_of(context: Context, given: dict[str, Any], request: CompletionRequest) -> Call:
    """What the pipeline is asked for, in the caller's name. Raises `RequestError` INVALID_REQUEST."""
    budget = context.edge.budgets[context.parts.changing.listener]
    optimize, session = given.get("optimize"), given.get("session")
    if session is not None and len(session) > LONGEST_SESSION:
        raise _refused("session", f"at most {LONGEST_SESSION} characters are read")
    timeout_s = given.get("timeout_s")
    if timeout_s is not None and not 0 < timeout_s <= MAX_TIMEOUT_S:
        raise _refused("timeout_s", f"expected a number of seconds over 0 and at most {MAX_TIMEOUT_S:g}")

    def note(report: Report) -> None:
        context.note(report.facts())

    return Call(
        request=request,
        principal=context.principal,
        listener=context.parts.changing.listener,
        endpoint=ENDPOINT,
        request_id=context.request_id,
        traceparent=context.traceparent,
        deadline_s=timeout_s,
        optimize=None if optimize is None else Objective(optimize),
        session=session or None,
        spawn=budget.spawn,
        hold=context.hold,
        on_end=note,
    )


def once_named(context: Context, given: dict[str, Any], request: CompletionRequest) -> Once | None:
    """The start that named itself; None for one that did not."""
    key = given.get("idempotency_key")
    if key is None:
        return None
    caller = context.principal.user_id
    return once_of(caller=caller, path=f"{ENDPOINT}#chat", key=checked_key(key), body=request.body())


def _body(given: dict[str, Any]) -> bytes:
    extra = given.get("extra")
    if extra is not None and not isinstance(extra, dict):
        raise _refused("extra", "expected an object")
    for name in extra or ():
        if name in _NOT_EXTRA:
            raise _refused("extra", f"{name[:40]!r} has a field of its own, or is not taken here")
    for name, most in (("max_tokens", given.get("max_tokens")), ("extra", (extra or {}).get(_NEWER))):
        if isinstance(most, int) and most < 1:
            raise _refused(name, f"an answer has at least 1 token, got {most}")
    own = {name: given[name] for name in _SAME_NAME if given.get(name) is not None}
    fields = {**(extra or {}), **own, "messages": [_message(each) for each in given["messages"]]}
    return msgspec.json.encode(fields)


def _message(given: dict[str, Any]) -> dict[str, Any]:
    content = given.get("parts") if given.get("parts") is not None else given.get("content")
    named = {name: given[name] for name in ("name", "tool_call_id", "tool_calls") if given.get(name) is not None}
    return {"role": given["role"], "content": content, **named}


def _refused(param: str, message: str) -> RequestError:
    return RequestError(Code.INVALID_REQUEST, f"{camel(param)}: {message}", param=param)
