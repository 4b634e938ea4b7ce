"""The official SDK, unchanged, against routing-api: what it sends, what it makes of answers and errors."""

import openai
import pytest

from citadel_edge.config.shape import ListenerName
from citadel_edge.simulator.options import Engine, SimulatorOptions
from citadel_edge.simulator.timing import Timing

MESSAGES = [{"role": "user", "content": "Say something."}]


def sdk(served, *, key=None, listener=ListenerName.ROUTING):
    return openai.AsyncOpenAI(
        base_url=served.url("/v1", listener), api_key=key or served.keys.demo_key, max_retries=0, timeout=20
    )


async def test_a_whole_chat_and_its_row_in_the_ledger(edge_with):
    async with edge_with() as served, sdk(served) as client:
        answer = await client.chat.completions.create(model="sim-model", messages=MESSAGES)
        assert answer.choices[0].message.content
        (row,) = await served.rows()
        assert (row["tokens_in"], row["tokens_out"]) == (answer.usage.prompt_tokens, answer.usage.completion_tokens)
        assert (row["outcome"], row["model"], row["upstream"], row["attempts"]) == ("done", "sim-model", "sim-0", 1)
        assert (row["endpoint"], row["listener"]) == ("/v1/chat/completions", "routing-api")
        assert row["cost_usd"] > 0


async def test_a_streamed_chat_has_no_usage_unless_asked_and_is_recorded_with_it(edge_with):
    async with edge_with() as served, sdk(served) as client:
        whole = await client.chat.completions.create(model="sim-model", messages=MESSAGES)
        stream = await client.chat.completions.create(model="sim-model", messages=MESSAGES, stream=True)
        chunks = [chunk async for chunk in stream]
        assert (
            "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
        )
        assert all(chunk.choices for chunk in chunks)
        assert all(chunk.usage is None for chunk in chunks)
        rows = await served.rows()
        assert [row["tokens_out"] for row in rows] == [whole.usage.completion_tokens] * 2
        assert rows[1]["ttft_ms"] is not None


async def test_usage_is_streamed_to_those_who_ask(edge_with):
    async with edge_with() as served, sdk(served) as client:
        stream = await client.chat.completions.create(
            model="sim-model", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        assert chunks[-1].usage is not None
        assert chunks[-1].choices == []


@pytest.mark.parametrize("engine", list(Engine))
async def test_every_engine_s_dialect_serves_the_sdk(edge_with, engine):
    options = SimulatorOptions(engine=engine, timing=Timing(decode_ms=1))
    async with edge_with(options=(options,)) as served, sdk(served) as client:
        whole = await client.chat.completions.create(model="sim-alias", messages=MESSAGES, max_tokens=12)
        stream = await client.chat.completions.create(model="sim-alias", messages=MESSAGES, max_tokens=12, stream=True)
        text = "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])
        assert text == whole.choices[0].message.content
        assert [row["tokens_out"] for row in await served.rows()] == [12, 12]


async def test_text_completions_and_embeddings(edge_with):
    async with edge_with() as served, sdk(served) as client:
        text = await client.completions.create(model="sim-model", prompt="Once upon a time", max_tokens=5)
        assert text.usage.completion_tokens == 5
        vectors = await client.embeddings.create(model="sim-model", input=["one", "two"])
        assert len(vectors.data) == 2
        assert {row["endpoint"] for row in await served.rows()} == {"/v1/completions", "/v1/embeddings"}


async def test_models_are_listed_with_their_aliases_and_found_by_name(edge_with):
    async with edge_with() as served, sdk(served) as client:
        names = [model.id async for model in client.models.list()]
        assert names == ["sim-model", "sim-alias", "auto", "auto:cheap", "auto:fast", "auto:best"]
        assert (await client.models.retrieve("sim-alias")).id == "sim-alias"
        with pytest.raises(openai.NotFoundError, match="does not exist"):
            await client.models.retrieve("other")


async def test_errors_become_the_sdk_s_exceptions(edge_with):
    async with edge_with() as served:
        async with sdk(served, key="wrong") as client:
            with pytest.raises(openai.AuthenticationError):
                await client.models.list()
        async with sdk(served) as client:
            with pytest.raises(openai.NotFoundError) as caught:
                await client.chat.completions.create(model="nope", messages=MESSAGES)
            assert caught.value.code == "model_not_found"
            with pytest.raises(openai.BadRequestError) as bad:
                await client.chat.completions.create(model="sim-model", messages=MESSAGES, max_tokens=100_000)
            assert bad.value.code == "context_length_exceeded"


async def test_one_dead_replica_of_two_fails_nobody(edge_with):
    async with edge_with(options=(SimulatorOptions(), SimulatorOptions())) as served, sdk(served) as client:
        await served.simulators[0].fault("unreachable", duration_s=30)
        for _ in range(6):
            answer = await client.chat.completions.create(model="sim-model", messages=MESSAGES)
            assert answer.choices[0].message.content
        rows = await served.rows()
        assert {row["outcome"] for row in rows} == {"done"}
        assert {row["upstream"] for row in rows} == {"sim-1"}


async def test_no_replica_is_503_with_a_time_to_come_back(edge_with):
    async with edge_with() as served, sdk(served) as client:
        await served.simulators[0].fault("unreachable", duration_s=30)
        for _ in range(3):
            with pytest.raises(openai.APIStatusError) as caught:
                await client.chat.completions.create(model="sim-model", messages=MESSAGES)
            assert caught.value.status_code in (502, 503)
            assert caught.value.code in ("upstream_error", "no_capacity")
        assert {row["outcome"] for row in await served.rows()} == {"error"}


async def test_streaming_api_always_streams(edge_with):
    async with edge_with() as served:
        url = served.url("/v1/chat/completions", ListenerName.STREAMING)
        async with served.client.post(url, json=served.chat(stream=False), headers=served.as_user()) as answer:
            assert answer.content_type == "text/event-stream"
            text = await answer.text()
        assert text.endswith("data: [DONE]\n\n")
        (row,) = await served.rows()
        assert row["listener"] == "streaming-api"
