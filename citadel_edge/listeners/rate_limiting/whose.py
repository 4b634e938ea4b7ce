"""Whose resource a path names: `me` is the caller, and another's is for operators alone."""

from aiohttp import web

from citadel_edge.accounts.principal import Role
from citadel_edge.errors import Code, RequestError
from citadel_edge.listeners.common.routes import principal_of

ME = "me"


def whose(request: web.Request) -> str:
    """The id of the user whom a read is about. `NOT_FOUND` for another's, as if there were none."""
    principal = principal_of(request)
    asked = request.match_info["id"]
    if asked in (ME, principal.user_id):
        return principal.user_id
    if not principal.role.may(Role.OPERATOR):
        raise RequestError(Code.NOT_FOUND, "There is no such user.")
    return asked
