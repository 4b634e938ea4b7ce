"""The answer's small decisions; its behaviour on sockets is tested with the pipeline."""

import pytest
from aiohttp import ClientPayloadError

from citadel_edge.errors import UpstreamFault
from citadel_edge.fleet.answer import broken, parse_retry_after


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("", None),
        ("5", 5.0),
        ("0.25", 0.25),
        ("0", 0.0),
        ("-1", None),
        ("inf", None),
        ("nan", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_nothing(text: str | None, seconds: float | None) -> None:
    assert parse_retry_after(text) == seconds


def test_a_torn_body_and_a_broken_connection_are_told_apart() -> None:
    assert broken(ClientPayloadError("x")).fault is UpstreamFault.TRUNCATED
    error = broken(ConnectionResetError())
    assert error.fault is UpstreamFault.RESET
    assert "ConnectionResetError" in str(error)
