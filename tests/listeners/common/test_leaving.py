import asyncio

import pytest

from citadel_edge.accounts.presence import Reason
from citadel_edge.listeners.common.leaving import why_left
from citadel_edge.listeners.common.sink import ClientGone, ClientStalled
from citadel_edge.streams.metrics import Left


@pytest.mark.parametrize(
    ("error", "left"),
    [
        (asyncio.CancelledError(Reason.REVOKED), Left.KEY),
        (asyncio.CancelledError(Reason.DRAINING), Left.DRAINING),
        (asyncio.CancelledError(), None),
        (ClientStalled("no byte"), Left.SLOW),
        (ClientGone("gone"), None),
        (ValueError(), None),
    ],
)
def test_why_a_client_left_is_read_from_what_ended_its_handler(error, left):
    assert why_left(error) is left
