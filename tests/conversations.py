"""What a client of a running edge says and hears: whole answers, streams, decisions, the fleet as operators see it."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from citadel_edge.config.shape import ListenerName
from citadel_edge.wire.sse import Decoder
from edges import Served

CHAT = "/v1/chat/completions"
LEGACY = "/v1/completions"
ROUTING = ListenerName.ROUTING


@dataclass(slots=True)
class Heard:
    """A stream as its client heard it. `seen` is when each piece of text came, in seconds of the loop's clock."""

    status: int
    headers: dict[str, str]
    data: list[str] = field(default_factory=list)
    seen: list[float] = field(default_factory=list)

    @property
    def events(self) -> list[dict[str, Any]]:
        """Everything but the end mark."""
        return [json.loads(one) for one in self.data if one != "[DONE]"]

    @property
    def choices(self) -> list[dict[str, Any]]:
        return [choice for event in self.events for choice in event.get("choices") or ()]

    @property
    def pieces(self) -> list[str]:
        said = [choice.get("text") or (choice.get("delta") or {}).get("content") for choice in self.choices]
        return [text for text in said if text]

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def finishes(self) -> list[str]:
        return [choice["finish_reason"] for choice in self.choices if choice.get("finish_reason")]

    @property
    def usages(self) -> list[dict[str, Any]]:
        return [event["usage"] for event in self.events if event.get("usage")]

    @property
    def errors(self) -> list[dict[str, Any]]:
        return [event["error"] for event in self.events if "error" in event]

    @property
    def whole(self) -> bool:
        """It ended as streams end: one finish, the end mark last and once, no error."""
        return (
            self.data[-1:] == ["[DONE]"] and self.data.count("[DONE]") == 1 and not self.errors and bool(self.finishes)
        )

    @property
    def honest(self) -> bool:
        """It broke and says so: one error, last, no end mark, no finish."""
        return len(self.errors) == 1 and "error" in self.events[-1] and "[DONE]" not in self.data and not self.finishes


async def stream(
    served: Served, body: dict[str, Any], *, path: str = CHAT, listener: ListenerName = ROUTING, **headers: str
) -> Heard:
    """Ask for a stream and hear it to its end."""
    loop = asyncio.get_running_loop()
    decoder = Decoder()
    sent = {**served.as_user(), **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with served.client.post(served.url(path, listener), json={**body, "stream": True}, headers=sent) as answer:
        heard = Heard(answer.status, dict(answer.headers))
        assert answer.status == 200, await answer.text()
        async for part in answer.content.iter_any():
            for event in decoder.feed(part):
                heard.data.append(event.data.decode())
                heard.seen.append(loop.time())
    assert not decoder.pending, "a client heard half an event"
    return heard


async def ask(
    served: Served, body: dict[str, Any], *, path: str = CHAT, **headers: str
) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Ask for a whole answer: status, body, headers."""
    sent = {**served.as_user(), **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with served.client.post(served.url(path), json=body, headers=sent) as answer:
        return answer.status, await answer.json(content_type=None), dict(answer.headers)


def said(answer: dict[str, Any]) -> str:
    """The text of a whole answer."""
    (choice,) = answer["choices"]
    return str(choice["text"] if "text" in choice else choice["message"]["content"])


async def look(served: Served, path: str) -> Any:
    """What an operator reads."""
    async with served.client.get(served.url(path), headers=served.as_admin()) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def decision(served: Served, headers: dict[str, str]) -> dict[str, Any]:
    """The decision of an answer with these headers, once it is told."""
    found: dict[str, Any] = await look(served, f"/v1/decisions/{headers['X-Citadel-Decision']}")
    return found


async def upstreams(served: Served) -> dict[str, dict[str, Any]]:
    """The fleet by id."""
    return {row["id"]: row for row in (await look(served, "/v1/upstreams"))["data"]}


async def change(served: Served, method: str, path: str, body: Any = None) -> Any:
    """What an admin changes."""
    async with served.client.request(method, served.url(path), json=body, headers=served.as_admin()) as answer:
        assert answer.status in (200, 201, 204), await answer.text()
        return await answer.json() if answer.status != 204 else None


async def settled(served: Served, *, within_s: float = 10.0) -> None:
    """Every replica healthy, nothing in flight, every breaker closed (reset by hand where it is not)."""
    async with asyncio.timeout(within_s):
        while not all(
            row["health"] == "healthy" and not row["in_flight"] for row in (await upstreams(served)).values()
        ):
            await asyncio.sleep(0.01)
    for breaker in (await look(served, "/v1/breakers"))["data"]:
        if breaker["state"] != "closed":
            await change(served, "POST", f"/v1/breakers/{breaker['id']}/reset")


async def idle(served: Served, *, within_s: float = 5.0) -> None:
    """Nothing in flight on any replica, no seat taken."""
    async with asyncio.timeout(within_s):
        while any(row["in_flight"] for row in (await upstreams(served)).values()):
            await asyncio.sleep(0.01)
    assert served.edge.budgets[ROUTING].snapshot()["tasks"] == 0
