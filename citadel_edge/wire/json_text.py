r"""What is wrong with a text that is no JSON, in words for whoever sent it. Pure.

Decides that half of a pair of `\u` escapes is named as such: the parser calls a whole body with one cut off.
"""

import re
from typing import Final

import msgspec

_ESCAPE: Final = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
_FIRST_HALVES: Final = range(0xD800, 0xDC00)
_SECOND_HALVES: Final = range(0xDC00, 0xE000)


def flaw(body: bytes, error: Exception) -> str:
    """Why the parser raised this about a body."""
    if isinstance(error, msgspec.DecodeError) and not isinstance(error, msgspec.ValidationError):
        if _holds_half(body):
            return "a \\u escape in it is half a character, a lone surrogate, which is no text"
        if "truncated" in str(error):
            return f"it ends too early (byte {len(body)})"
    return str(error).removeprefix("JSON is malformed: ")


def _holds_half(body: bytes) -> bool:
    """Whether an escape is one half of a surrogate pair without the other right beside it."""
    expected = -1
    for found in _ESCAPE.finditer(body):
        code = int(found[1], 16) if found[1] else 0
        if (code in _SECOND_HALVES) is not (found.start() == expected):
            return True
        if 0 <= expected != found.start():
            return True
        expected = found.end() if code in _FIRST_HALVES else -1
    return expected >= 0
