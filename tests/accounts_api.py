"""Calls to the accounts of a running edge, over HTTP."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from citadel_edge.accounts.ledger.event import Outcome, UsageEvent
from citadel_edge.config.shape import ListenerName
from citadel_edge.telemetry.ids import uuid7


class Api:
    """Calls as the admin, or whose key it is, answering status and body; `headers` are those of the last answer."""

    def __init__(self, served, key=None):
        self._served = served
        self._key = key or served.keys.admin_key

    async def __call__(self, method, path, body=None, **headers):
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.asked(method, path, json=body, headers=sent) as answer:
            self.headers = answer.headers
            return answer.status, None if answer.status == 204 else await answer.json()

    def asked(self, method, path, *, headers=None, **how):
        url = self._served.url(path, ListenerName.RATE_LIMITING)
        return self._served.client.request(
            method, url, headers={"Authorization": f"Bearer {self._key}", **(headers or {})}, **how
        )

    async def text(self, path, **headers):
        async with self.asked("GET", path, headers=headers) as answer:
            self.headers = answer.headers
            return answer.status, await answer.text()

    async def user(self, name="ada", *, tier="free", **fields):
        """A user, and the same calls in this user's name."""
        status, user = await self("POST", "/v1/users", {"name": name, "tier": tier, **fields})
        assert status == 201, user
        status, made = await self("POST", f"/v1/users/{user['id']}/keys", {})
        assert status == 201, made
        return user, Api(self._served, made["key"])


async def used(served, user, *rows: dict[str, Any]):
    """Put rows into the ledger; each may set any field of a usage event, `at` as text."""
    for row in rows:
        at = datetime.fromisoformat(row.pop("at")).astimezone(UTC)
        facts = {
            "event_id": uuid7(served.edge.clock),
            "request_id": "req",
            "organisation_id": user["organisation_id"],
            "user_id": user["id"],
            "key_id": "key_1",
            "tier": "free",
            "model": "m",
            "endpoint": "/v1/chat/completions",
            "listener": "routing-api",
            "attempts": 1,
            "tokens_in": 10,
            "tokens_out": 1,
            "cost_usd": Decimal("0.5"),
            "outcome": Outcome.DONE,
            "duration_ms": 1.0,
            "created_at": at,
        }
        served.edge.ledger.record(UsageEvent(**{**facts, **row}))
    assert await served.edge.ledger.flush(10)
