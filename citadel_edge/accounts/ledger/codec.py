"""Rows as lines of the spool: eight hexadecimal digits of CRC-32, a space, one JSON object, a newline.

Decides what a line looks like and whether one is whole. Refuses to know files. A line is text, so that an operator can
read a spool with `less`; its JSON goes to PostgreSQL as it is, so that carrying costs the loop next to nothing.
"""

import zlib
from typing import Final

import msgspec

from citadel_edge.accounts.ledger.event import Facts, Fold

SLOT_BYTES: Final = 512
HEAD_BYTES: Final = 64
_COUNT_PREFIX: Final = b'{"count":'
_CRC_CHARS: Final = 8
_MAX_TEXT_CHARS: Final = 256
_MAX_PLAIN_BYTES: Final = 2048
_NUL: Final = b"\\u0000"
_encoder: Final = msgspec.json.Encoder()


class LineError(ValueError):
    """The bytes are not a line that was written here."""


def encode(event: Facts) -> bytes:
    """A row as a line. Text that PostgreSQL cannot hold is mended, text over 256 characters is cut.

    Raises:
        ValueError, TypeError: the row cannot be written down at all (msgspec's errors among them).
    """
    return seal(_payload(event))


def encode_fold(fold: Fold, count: int) -> bytes:
    """A contribution as a line of whole 512-byte slots.

    The count stands at its start with a fixed width: two encodings of the same contribution differ within their first
    64 bytes alone, which lie in one sector, so that rewriting them in place leaves the old line or the new one.
    """
    payload = b"%s%15d,%s" % (_COUNT_PREFIX, count, _payload(fold)[1:])
    length = _CRC_CHARS + len(payload) + 2
    return seal(payload + b" " * (-length % SLOT_BYTES))


def seal(payload: bytes) -> bytes:
    """A payload (without newlines) with its CRC and line end."""
    return b"%08x %s\n" % (zlib.crc32(payload), payload)


def unseal(line: bytes) -> bytes:
    """The payload of a line; `line` comes without its newline.

    Raises:
        LineError: a byte is wrong or missing.
    """
    payload = line[_CRC_CHARS + 1 :]
    if line[: _CRC_CHARS + 1] != b"%08x " % zlib.crc32(payload):
        raise LineError("the checksum does not fit the line")
    return payload


def is_fold(payload: bytes) -> bool:
    """Whether a payload is a contribution, to be added, rather than a row of its own."""
    return payload.startswith(_COUNT_PREFIX)


def _payload(event: Facts) -> bytes:
    try:
        payload = _encoder.encode(event)
    except UnicodeEncodeError:
        return _encoder.encode(_mended(event))
    if len(payload) > _MAX_PLAIN_BYTES or _NUL in payload:
        return _encoder.encode(_mended(event))
    return payload


def _mended(event: Facts) -> Facts:
    return msgspec.structs.replace(event, **{name: _mend(getattr(event, name)) for name in event.__struct_fields__})


def _mend(value: object) -> object:
    if type(value) is str:
        text = value[:_MAX_TEXT_CHARS].replace("\0", "\N{REPLACEMENT CHARACTER}")
        return text.encode(errors="replace").decode()
    return value
