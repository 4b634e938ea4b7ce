r"""What must never stand in a log line, and how it is taken out.

Decides on the finished JSON line, not on fields, so that nothing slips by: nested values, exception texts, reprs of
headers. Refuses to know where lines come from or go.

Two steps, because nearly every line is clean: one translation of the line (lower case; quotes, backslashes and `:`
become `=`) and a few substring searches say whether it may hold a secret; only then the expressions below run. Each of
them keeps the line valid JSON: a value is consumed in whole characters and whole escapes, never past its closing quote.
"""

import re
import string
from typing import Final

REDACTED: Final = b"[redacted]"

_SAME: Final = bytes.maketrans(string.ascii_uppercase.encode() + b"\"'\\:", string.ascii_lowercase.encode() + b"====")


def _flat(line: bytes) -> str:
    """The line as signs are looked for: without `s` a plural is a singular; texts are searched faster than bytes."""
    return line.translate(_SAME, b"sS").decode("latin-1")


_SIGNS: Final = tuple(
    map(
        _flat,
        (
            b"cit_",
            b"bearer",
            b"basic ",
            b"authorization",
            b"cookie=",
            b"secret",
            b"passw",
            b"passp",
            b"key=",
            b"token=",
        ),
    )
)

_NAME: Final = rb"(?:key|secret|password|passwd|passphrase|token|authorization|cookie)"
_TEXT: Final = rb'"(?:[^"\\]|\\.)*"'

# Keys of ours, wherever they stand. Short ones only at the start of a word, so that `explicit_timeout` stays.
_OUR_KEY: Final = re.compile(
    rb"cit_[A-Za-z0-9_-]{20,}|(?<![A-Za-z0-9])cit_[A-Za-z0-9_-]+|(?<=\\[nrtbf])cit_[A-Za-z0-9_-]+"
)
# `"api_key":"…"` of the line's own JSON, also a list of texts; numbers only where the name leaves no doubt.
_FIELD: Final = re.compile(
    rb'(?i)(%b(s?)"):(?:%b|\[%b(?:,%b)*\])' % (_NAME, _TEXT, _TEXT, _TEXT),
)
_NUMBER_FIELD: Final = re.compile(rb'(?i)((?:secret|password|passwd|passphrase)s?"):-?\d[\d.e+-]*')
# `'password': 'x'` and `\"password\": \"x\"` inside a text: reprs of mappings, JSON inside JSON, tuples of headers.
_QUOTED: Final = re.compile(rb"""(?i)(%bs?(?:\\+"|\\*')\s*[:,]\s*[b(]?(\\+"|\\*'))(?:(?!\2)(?:[^"\\]|\\.))*""" % _NAME)
# `password=x`, `api_key='x y'`: connection strings, query strings, reprs of dataclasses.
_ASSIGNED: Final = re.compile(
    rb"""(?i)((?:key|secret|password|passwd|passphrase|token)=)"""
    rb"""(?:(\\+"|\\*')(?:(?!\2)(?:[^"\\]|\\.))*|[^\s"'\\&,;)]+)"""
)
_HEADER: Final = re.compile(rb"(?i)(authorization\s*[:=]\s*)(?:[a-z]+\s+)?[^\s\"'\\,;]+")
_BEARER: Final = re.compile(rb"(?i)(bearer\s+)[^\s\"'\\,;)\]}]+")
_BASIC: Final = re.compile(rb"(Basic\s+)(?=[A-Za-z0-9+/]*[0-9A-Z=])[A-Za-z0-9+/]{6,}={0,2}")
# `://user:password@host`, to the last `@` before the next URL; digits and a slash after the colon are a port.
_URL: Final = re.compile(rb"""(://[^/\s"'\\@:]*:)(?!\d{1,5}[/?#])(?:(?:(?!://)[^\s"'\\@])*@)+""")


def redact(line: bytes) -> bytes:
    """The JSON line without keys of ours, credentials of headers and URLs, values of fields named for secrets."""
    return _scrub(line) if _suspicious(line) else line


def _suspicious(line: bytes) -> bool:
    flat = _flat(line)
    for sign in _SIGNS:
        if sign in flat:
            return True
    return "@" in flat and "=//" in flat


def _scrub(line: bytes) -> bytes:
    line = _FIELD.sub(rb'\1:"[redacted]"', line)
    line = _NUMBER_FIELD.sub(rb'\1:"[redacted]"', line)
    line = _QUOTED.sub(rb"\1[redacted]", line)
    line = _HEADER.sub(rb"\1[redacted]", line)
    line = _ASSIGNED.sub(rb"\1[redacted]", line)
    line = _BEARER.sub(rb"\1[redacted]", line)
    line = _BASIC.sub(rb"\1[redacted]", line)
    line = _URL.sub(rb"\1[redacted]@", line)
    return _OUR_KEY.sub(rb"cit_[redacted]", line)
