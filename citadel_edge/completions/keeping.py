"""What a client wants to become of its answer when nobody reads it: two fields of the body, ours and not the engine's.

Decides what they may say. Refuses to know how it is carried out.
"""

from typing import Final

import msgspec

from citadel_edge.completions.request import CompletionRequest
from citadel_edge.errors import Code, RequestError
from citadel_edge.streams.values import OnDisconnect, Policy

ON_DISCONNECT: Final = "on_disconnect"
GRACE_S: Final = "grace_s"
LONGEST_GRACE_S: Final = 3600.0
_STRING: Final = msgspec.json.Decoder(str)
_SECONDS: Final = msgspec.json.Decoder(float)


def policy_of(request: CompletionRequest, default: Policy) -> tuple[CompletionRequest, Policy]:
    """The request as engines may see it, and what its fields say beside it; what they leave open, the default says.

    Raises:
        RequestError: INVALID_REQUEST, naming the field.
    """
    if ON_DISCONNECT not in request.fields and GRACE_S not in request.fields:
        return request, default
    policy = Policy(
        on_disconnect=_on_disconnect(request, default.on_disconnect), grace_s=_grace_s(request, default.grace_s)
    )
    return request.without(ON_DISCONNECT, GRACE_S), policy


def _on_disconnect(request: CompletionRequest, default: OnDisconnect) -> OnDisconnect:
    raw = request.fields.get(ON_DISCONNECT)
    if raw is None:
        return default
    try:
        return OnDisconnect(_STRING.decode(raw))
    except (msgspec.MsgspecError, ValueError) as error:
        known = ", ".join(OnDisconnect)
        raise RequestError(
            Code.INVALID_REQUEST, f"'{ON_DISCONNECT}' must be one of {known}.", param=ON_DISCONNECT
        ) from error


def _grace_s(request: CompletionRequest, default: float) -> float:
    raw = request.fields.get(GRACE_S)
    if raw is None:
        return default
    try:
        seconds = _SECONDS.decode(raw)
    except msgspec.MsgspecError:
        seconds = -1.0
    if not 0 <= seconds <= LONGEST_GRACE_S:
        message = f"'{GRACE_S}' must be a number of seconds from 0 to {LONGEST_GRACE_S:g}."
        raise RequestError(Code.INVALID_REQUEST, message, param=GRACE_S)
    return seconds
