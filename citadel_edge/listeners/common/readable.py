"""Who may read which stream, and whether there is more of it to read. The same at every door that has streams."""

from collections.abc import Callable
from typing import Final

from citadel_edge.accounts.principal import Principal, Role
from citadel_edge.streams.cursor import Cursor
from citadel_edge.streams.values import Info, Owner

STOPS_WITHIN_S: Final = 5.0
"""So long whoever stops a stream waits for its end."""


def may_see(principal: Principal) -> Callable[[Owner], bool]:
    """Whose streams the caller may see: users their own, operators everybody's."""
    if principal.role.may(Role.OPERATOR):
        return lambda _owner: True
    return lambda owner: owner.user_id == principal.user_id


def has_all(info: Info, after: Cursor) -> bool:
    """Whether the reader has the terminal record, whose number is the one behind the last event."""
    return info.terminal is not None and after.epoch == info.cursor.epoch and after.seq == info.cursor.seq + 1
