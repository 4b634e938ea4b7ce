"""Who is calling, as the doors and the pipeline see it. Plain values."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from citadel_edge.accounts.entitlement import UNLIMITED, Entitlement


class Role(StrEnum):
    """What a user may do, weakest first.

    `user`: own traffic, streams and usage. `service`: checks on behalf of users. `operator`: reads fleet, decisions,
    events and everyone's usage. `admin`: changes.
    """

    USER = "user"
    SERVICE = "service"
    OPERATOR = "operator"
    ADMIN = "admin"

    @property
    def rank(self) -> int:
        """0 for the weakest."""
        return _RANKS[self]

    def may(self, needed: "Role") -> bool:
        """Whether this role covers `needed`."""
        return self.rank >= needed.rank


_RANKS: Final = {role: rank for rank, role in enumerate(Role)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """A caller. Ids are the accounts' own (`org_…`, `usr_…`, `key_…`).

    `key_id` is empty for a user in whose name another asks; `priority` is the tier's.
    `expires_unix_s` is the key's end, in seconds since 1970.
    """

    organisation_id: str
    user_id: str
    key_id: str
    name: str
    role: Role
    tier: str
    models: tuple[str, ...] = ("*",)
    priority: int = 1
    entitlement: Entitlement = UNLIMITED
    expires_unix_s: float | None = None

    def covers(self, earlier: "Principal") -> bool:
        """Whether what this caller began with earlier rights may go on: not with a weaker role, nor elsewhere."""
        same = (self.user_id, self.organisation_id) == (earlier.user_id, earlier.organisation_id)
        return same and self.role.may(earlier.role)

    def may_use(self, model: str) -> bool:
        """Whether the tier allows the model."""
        return "*" in self.models or model in self.models
