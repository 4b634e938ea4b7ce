"""Users who ask at a steady pace, whatever they are answered, by turns through the instances.

A chatter asks for chat completions; a gateway asks `/v1/check`, serves for a moment by itself, and settles. Who is
greedy asks for more than its limits hold. An onlooker asks `/health/live`, which no limit and no Redis has to do with:
what that takes is the machine's.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import aiohttp

from benchmarks.limits.service import Instance
from citadel_edge.config.shape import ListenerName

PATIENCE_S: Final = 20.0
SERVED_S: Final = 0.05
"""So long a gateway takes between its check and its settlement."""
GIVEN_BACK: Final = 0.25
"""The part of what was checked that the settlement gives back."""


class Part(StrEnum):
    """What was asked for."""

    CHAT = "chat"
    CHECK = "check"
    SETTLE = "settle"
    LIVE = "live"


@dataclass(frozen=True, slots=True, kw_only=True)
class Habit:
    """How somebody asks.

    Attributes:
        tokens: of an answer at most, or what is checked.
        model: who is asked.
        roams: the settlement goes through the other instance than its check did, as behind a load balancer.
        greedy: which limit it overruns; null: it stays within all of them and is to be served always.
        serves_s: so long the model takes for an answer at least.
    """

    name: str
    tier: str
    part: Part
    per_s: float
    tokens: int
    model: str = "fast"
    roams: bool = False
    greedy: str | None = None
    serves_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A user who has that habit."""

    habit: Habit
    id: str
    organisation: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One question and its answer; times are seconds of the loop's clock.

    Attributes:
        status: HTTP's; 0: the connection failed.
        allowed: it was served, or may be; of a settlement, that it was accepted.
        degraded: the answer said that it was made without Redis.
        tokens: that the answer took, or the settlement says so.
        words: the beginning of an answer that is none.
    """

    person: Person
    part: Part
    began: float
    ended: float
    status: int
    allowed: bool
    degraded: bool
    tokens: int = 0
    words: str = ""


@dataclass(slots=True)
class Crowd:
    """All of them. Goes on until `stop`."""

    people: Sequence[Person]
    instances: Sequence[Instance]
    admin_key: str
    client: aiohttp.ClientSession
    shots: list[Shot] = field(default_factory=list)
    _going: bool = True

    def stop(self) -> None:
        """Nothing new is asked; what was asked is waited for."""
        self._going = False

    async def run(self) -> None:
        """Until everything that was asked is answered."""
        async with asyncio.TaskGroup() as group:
            for number, person in enumerate(self.people):
                group.create_task(self._ask_on(person, number / len(self.people), group))

    async def _ask_on(self, person: Person, phase: float, group: asyncio.TaskGroup) -> None:
        clock = asyncio.get_running_loop().time
        due, turn = clock() + phase / person.habit.per_s, 0
        while self._going:
            await asyncio.sleep(due - clock())
            group.create_task(self._ask(person, turn % len(self.instances)))
            due, turn = due + 1 / person.habit.per_s, turn + 1

    async def _ask(self, person: Person, place: int) -> None:
        if person.habit.part is Part.CHAT:
            await self._chat(person, place)
        elif person.habit.part is Part.LIVE:
            await self._shoot(
                person, Part.LIVE, f"{self.instances[place].urls[ListenerName.RATE_LIMITING]}/health/live"
            )
        else:
            await self._check_and_settle(person, place)

    async def _chat(self, person: Person, place: int) -> None:
        habit = person.habit
        messages = [{"role": "user", "content": "Say something."}]
        body = {"model": habit.model, "messages": messages, "max_tokens": habit.tokens}
        url = f"{self.instances[place].urls[ListenerName.ROUTING]}/v1/chat/completions"
        await self._post(person, Part.CHAT, url, body, person.key)

    async def _check_and_settle(self, person: Person, place: int) -> None:
        url = self.instances[place].urls[ListenerName.RATE_LIMITING]
        tokens = person.habit.tokens
        answer = await self._post(
            person, Part.CHECK, f"{url}/v1/check", {"key": person.key, "tokens": tokens}, self.admin_key
        )
        if not answer.get("reservation"):
            return
        await asyncio.sleep(SERVED_S)
        if person.habit.roams:
            url = self.instances[(place + 1) % len(self.instances)].urls[ListenerName.RATE_LIMITING]
        used = round(tokens * (1 - GIVEN_BACK))
        body = {"reservation": answer["reservation"], "tokens_in": used, "tokens_out": 0}
        await self._post(person, Part.SETTLE, f"{url}/v1/settle", body, self.admin_key)

    async def _post(self, person: Person, part: Part, url: str, body: Mapping[str, Any], key: str) -> dict[str, Any]:
        return await self._shoot(person, part, url, body=body, key=key)

    async def _shoot(
        self, person: Person, part: Part, url: str, *, body: Mapping[str, Any] | None = None, key: str = ""
    ) -> dict[str, Any]:
        clock = asyncio.get_running_loop().time
        began, headers = clock(), {"Authorization": f"Bearer {key}"} if key else {}
        status, said, degraded = 0, b"", False
        try:
            async with self.client.request("POST" if body else "GET", url, json=body, headers=headers) as answer:
                status, said = answer.status, await answer.read()
                degraded = answer.headers.get("X-Citadel-Limits") == "degraded"
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            said = f"{type(error).__name__}: {error}".encode()
        ended = clock()
        found: dict[str, Any] = json.loads(said) if status else {}
        allowed = status in {200, 202} and found.get("allowed", True)
        self.shots.append(
            Shot(
                person=person,
                part=part,
                began=began,
                ended=ended,
                status=status,
                allowed=allowed,
                degraded=degraded,
                tokens=_tokens(part, body, found) if allowed else 0,
                words="" if allowed else said[:300].decode(errors="replace"),
            )
        )
        return found


def _tokens(part: Part, asked: Mapping[str, Any] | None, answer: Mapping[str, Any]) -> int:
    """What an answer says that it took; of a check, what it may take."""
    if asked is None:
        return 0
    if part is Part.CHAT:
        return int(answer["usage"]["total_tokens"])
    return int(asked["tokens"] if part is Part.CHECK else asked["tokens_in"] + asked["tokens_out"])
