"""Global ids: opaque, unique over all types. Pure.

`base64url("<Type>:<id>")` without padding. Decides that arguments take either a global id or the id that the other
doors know: no id of theirs can be read as a global one.
"""

import base64
import binascii
from typing import Final

from citadel_edge.errors import Code, RequestError

_LONGEST: Final = 4096
"""Characters of a global id; nothing of ours comes near."""


def global_id(kind: str, plain: str) -> str:
    """Of the thing of this type with this id at the other doors."""
    return base64.urlsafe_b64encode(f"{kind}:{plain}".encode()).decode().rstrip("=")


def parse(text: str) -> tuple[str, str] | None:
    """Type and plain id; None where it is no global id."""
    if len(text) > _LONGEST:
        return None
    padded = text.encode(errors="replace") + b"=" * (-len(text) % 4)
    try:
        kind, colon, plain = base64.b64decode(padded, altchars=b"-_", validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return (kind, plain) if colon and kind.isalpha() and kind[:1].isupper() and plain else None


def plain_id(kind: str, text: str) -> str:
    """The id at the other doors, however it was given.

    Raises:
        RequestError: INVALID_REQUEST, the global id is of something else.
    """
    found = parse(text)
    if found is None:
        return text
    if found[0] != kind:
        raise RequestError(Code.INVALID_REQUEST, f"Expected the id of a {kind}, got that of a {found[0]}.", param="id")
    return found[1]
