"""Users of a running edge whose rights a test changes."""

import asyncio
from dataclasses import dataclass
from typing import Any

from citadel_edge.accounts.api_keys import MadeKey, NewApiKey
from citadel_edge.accounts.desk import Actor
from citadel_edge.accounts.principal import Role
from citadel_edge.accounts.users import NewUser, UserPatch
from edges import Served

BY = Actor(who="usr_tester")


@dataclass
class Person:
    """A user with a key. `headers`: they show it."""

    served: Served
    user_id: str
    made: MadeKey

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.made.text}"}

    async def becomes(self, **fields: Any) -> None:
        """Another role, tier or organisation."""
        await self.served.edge.changes.update_user(self.user_id, UserPatch(**fields), by=BY)

    async def rotates(self, overlap_s: float) -> MadeKey:
        """The key ends after so long."""
        changes = self.served.edge.changes
        return await changes.rotate_key(self.user_id, self.made.key.id, env="test", overlap_s=overlap_s, by=BY)

    async def revokes(self) -> None:
        """The key ends."""
        await self.served.edge.changes.revoke_key(self.user_id, self.made.key.id, by=BY)

    async def another(self) -> "Person":
        """The same user with a key more."""
        made = await self.served.edge.changes.create_key(self.user_id, NewApiKey(), env="test", by=BY)
        return Person(self.served, self.user_id, made)


async def person(served: Served, name: str, *, role: Role = Role.USER, tier: str = "unlimited") -> Person:
    """A new one."""
    changes = served.edge.changes
    user = await changes.create_user(NewUser(name=name, tier=tier, role=role.value), by=BY)
    made = await changes.create_key(user.id, NewApiKey(), env="test", by=BY)
    return Person(served, user.id, made)


async def within(task: Any, least_s: float, most_s: float) -> Any:
    """What is awaited, which takes at least and at most so long."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    found = await asyncio.wait_for(task, most_s)
    assert loop.time() - began_s >= least_s, "too soon"
    return found
