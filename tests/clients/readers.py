"""One streamed chat through each of the clients that others wrote, brought to one form."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai
from httpx_sse import aconnect_sse

from citadel_edge.config.shape import ListenerName
from citadel_edge.simulator.options import SimulatorOptions
from citadel_edge.simulator.server import running

STREAMING = ListenerName.STREAMING
PATH = "/v1/chat/completions"
LONGEST_WAIT_S = 30.0
WIDEST = 4  # bytes of UTF-8
REQUEST = {"model": "sim-model", "messages": [{"role": "user", "content": "Tell me of rockets."}], "max_tokens": 80}


@dataclass
class Heard:
    """What a client made of an answer. Those that speak of events know their names and ids; SDKs know texts alone."""

    text: str = ""
    usage: Any = None
    error: Mapping[str, Any] | None = None
    done: bool = False
    ids: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    recovered: list[str] = field(default_factory=list)
    heartbeats: int | None = None  # None: it does not tell

    @property
    def numbers(self) -> list[int]:
        """The numbers of its events, as they came."""
        return [int(each.rpartition(":")[2]) for each in self.ids]

    def event(self, name: str | None, identity: str | None, data: str) -> None:
        """Take one event of a chat in either dialect. Some clients give an event without an id the last one's."""
        self.ids += [identity] if identity and self.ids[-1:] != [identity] else []
        self.names.append(name or "message")
        self.done = self.done or name == "done" or data == "[DONE]"
        told = {} if data == "[DONE]" else json.loads(data)
        self.error = told.get("error") or self.error
        for choice in told.get("choices", ()):
            self.text += choice["delta"].get("content") or ""
        self.usage = told.get("usage") or self.usage
        self.recovered += [told["recovered"]] if name == "recovered" else []


async def openai_python(served, _node, request, headers):
    heard = Heard()
    sdk = openai.AsyncOpenAI(
        base_url=served.url("/v1", STREAMING),
        api_key=served.keys.demo_key,
        max_retries=0,
        timeout=LONGEST_WAIT_S,
        default_headers=headers,
    )
    async with sdk:
        try:
            async for chunk in await sdk.chat.completions.create(**request, stream=True):
                for choice in getattr(chunk, "choices", None) or ():
                    heard.text += choice.delta.content or ""
                heard.usage = getattr(chunk, "usage", None) or heard.usage
            heard.done = True
        except openai.APIError as error:
            heard.error = {"message": error.message, "code": error.code}
    return heard


async def openai_node(served, node, request, headers):
    told = await node.ask(
        "openai_chat.mjs",
        base=served.url("/v1", STREAMING),
        key=served.keys.demo_key,
        request=request,
        headers=headers,
    )
    error = told.get("error")
    return Heard(text=told["text"], usage=told["usage"], error=error, done=error is None)


async def httpx_sse(served, _node, request, headers):
    heard = Heard()
    async with (
        httpx.AsyncClient(headers={**served.as_user(), **headers}, timeout=LONGEST_WAIT_S) as client,
        aconnect_sse(client, "POST", served.url(PATH, STREAMING), json=request) as source,
    ):
        async for each in source.aiter_sse():
            heard.event(each.event, each.id, each.data)
    return heard


async def eventsource_parser(served, node, request, headers):
    heard = Heard()
    told = await node.ask(
        "parser_chat.mjs",
        url=served.url(PATH, STREAMING),
        key=served.keys.demo_key,
        request=request,
        headers=headers,
    )
    assert told["errors"] == []
    assert {*told["comments"]} <= {"ping"}
    heard.heartbeats = len(told["comments"])
    for each in told["events"]:
        heard.event(each["event"], each["id"], each["data"])
    return heard


READERS = {"python": (openai_python, httpx_sse), "node": (openai_node, eventsource_parser)}


async def said(served, request=REQUEST):
    """The answer as the model says it, asked whole of one that takes no time; it holds characters of every width."""
    async with (
        running(SimulatorOptions()) as model,
        served.client.post(model.url + PATH, json=request) as answer,
    ):
        assert answer.status == 200, await answer.text()
        text = (await answer.json())["choices"][0]["message"]["content"]
    assert {len(each.encode()) for each in text} == {*range(1, WIDEST + 1)}
    return text
