"""The codes that graphql-transport-ws closes with, and ours for what it leaves open."""

from enum import IntEnum
from typing import Final

from citadel_edge.listeners.common.websocket.closing import Codes


class Close(IntEnum):
    """Why a connection ends.

    Those from 4400 to 4500 but two are the protocol's. SLOW and SILENT are ours: clients come back after them, as after
    GOING_AWAY and OVERLOADED.
    """

    GOING_AWAY = 1001
    OVERLOADED = 1013
    BAD_REQUEST = 4400
    UNAUTHORIZED = 4401
    FORBIDDEN = 4403
    SUBPROTOCOL_NOT_ACCEPTABLE = 4406
    INITIALISATION_TIMEOUT = 4408
    SUBSCRIBER_EXISTS = 4409
    TOO_MANY_INITIALISATIONS = 4429
    SLOW = 4498
    SILENT = 4499
    INTERNAL = 4500


CODES: Final = Codes(
    slow=Close.SLOW,
    draining=Close.GOING_AWAY,
    overloaded=Close.OVERLOADED,
    key_ended=Close.FORBIDDEN,
    silent=Close.SILENT,
)
