"""Callers of rate-limiting-api for tests: the admin who sets limits, a service that asks, and users who are limited."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from citadel_edge.config.shape import ListenerName
from edges import Served

DOOR = ListenerName.RATE_LIMITING


@dataclass(slots=True)
class User:
    """A user with a key."""

    id: str
    key: str
    key_id: str

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


@dataclass(slots=True)
class Checks:
    """A service's calls. `headers` are those of the last answer."""

    served: Served
    service: User = field(init=False)
    headers: Mapping[str, str] = field(default_factory=dict)

    async def __call__(self, path: str, body: Any = None, *, bearer: Mapping[str, str] | None = None) -> Any:
        """Status and body of a POST, as the service unless another bearer is given."""
        return await self._call("POST", path, body, self.service.bearer if bearer is None else bearer)

    async def admin(self, method: str, path: str, body: Any = None) -> Any:
        status, answer = await self._call(method, path, body, self.served.as_admin())
        assert status < 300, answer
        return answer

    async def _call(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> Any:
        url = self.served.url(path, DOOR)
        async with self.served.client.request(method, url, json=body, headers=headers) as answer:
            self.headers = answer.headers
            return answer.status, await answer.json(content_type=None) if answer.status != 204 else None

    async def tier(self, name: str, **limits: Any) -> None:
        await self.admin("POST", "/v1/tiers", {"name": name, **limits})

    async def user(self, name: str, tier: str, **fields: Any) -> User:
        made = await self.admin("POST", "/v1/users", {"name": name, "tier": tier, **fields})
        key = await self.admin("POST", f"/v1/users/{made['id']}/keys", {})
        return User(made["id"], key["key"], key["id"])

    async def check(self, user: User, **fields: Any) -> Any:
        """The answer to a check of the user's key."""
        status, answer = await self("/v1/check", {"key": user.key, **fields})
        assert status == 200, answer
        return answer

    async def left(self, user: User, name: str) -> Any:
        """What remains of a limit, as a check that takes a request says."""
        answer = await self.check(user, lease=False)
        return next(one["remaining"] for one in answer["limits"] if one["name"] == name)


@asynccontextmanager
async def checking(served_by: Any, **limits: Any) -> AsyncIterator[tuple[Checks, User]]:
    """A service, and a user whose tier has these limits; `served_by` is what `edge_with()` answers."""
    async with served_by as served:
        checks = Checks(served)
        checks.service = await checks.user("gateway", "unlimited", role="service")
        await checks.tier("limited", burst=1, **limits)
        yield checks, await checks.user("ada", "limited")
