"""The official SDK works against every dialect."""

import openai
import pytest


@pytest.mark.parametrize("engine", ["vllm", "sglang", "llamacpp", "ollama", "tgi", "openai"])
async def test_the_openai_sdk_chats_streams_and_embeds(simulated, engine):
    async with (
        simulated(engine=engine, seed=2) as client,
        openai.AsyncOpenAI(base_url=client.sim.url + "/v1", api_key="x", max_retries=0) as sdk,
    ):
        messages = [{"role": "user", "content": "hello"}]
        whole = await sdk.chat.completions.create(model="sim-model", messages=messages)
        stream = await sdk.chat.completions.create(
            model="sim-model", messages=messages, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
        assert text == whole.choices[0].message.content
        assert chunks[-1].usage.total_tokens == whole.usage.total_tokens
        assert [model.id async for model in sdk.models.list()] == ["sim-model"]
        if engine != "tgi":
            vectors = await sdk.embeddings.create(model="sim-model", input="hello")
            assert len(vectors.data[0].embedding) == 32
