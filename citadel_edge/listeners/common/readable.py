"""Who may read and stop which stream, and whether there is more to read. The same at every door that has streams."""

from collections.abc import Callable
from typing import Final

from citadel_edge.accounts.principal import Principal, Role
from citadel_edge.errors import Code, RequestError
from citadel_edge.streams.cursor import Cursor
from citadel_edge.streams.streams import Streams
from citadel_edge.streams.values import Info, Owner

STOPS_WITHIN_S: Final = 5.0
"""So long whoever stops a stream waits for its end."""


def may_see(principal: Principal) -> Callable[[Owner], bool]:
    """Whose streams the caller may see: users their own, operators everybody's."""
    if principal.role.may(Role.OPERATOR):
        return lambda _owner: True
    return lambda owner: owner.user_id == principal.user_id


def may_stop(principal: Principal) -> Callable[[Owner], bool]:
    """Whose generations the caller may stop: users their own, admins everybody's."""
    everybody = principal.role.may(Role.ADMIN)
    return lambda owner: everybody or owner.user_id == principal.user_id


async def stopped(streams: Streams, name: str, *, principal: Principal) -> tuple[Info, Info]:
    """The stream `name` as it was and as it is then; its end is waited for a while.

    Raises:
        RequestError: NOT_FOUND, nobody knows it or the caller may not see it. FORBIDDEN, the caller may not stop it.
    """
    may = may_stop(principal)
    before = await streams.info(name, may=may_see(principal))
    if not may(before.owner):
        raise RequestError(Code.FORBIDDEN, "a generation is stopped by the user it is for, or by an admin")
    if before.terminal is not None:
        return before, before
    return before, await streams.stop(before.id, may=may, within_s=STOPS_WITHIN_S)


def has_all(info: Info, after: Cursor) -> bool:
    """Whether the reader has the terminal record, whose number is the one behind the last event."""
    return info.terminal is not None and after.epoch == info.cursor.epoch and after.seq == info.cursor.seq + 1
