"""How each engine goes on with a started assistant message."""

import pytest

FLAGS = {"continue_final_message": True, "add_generation_prompt": False}


async def whole_answer(client):
    return (await client.stream(client.body())).text


@pytest.mark.parametrize(
    ("engine", "flags"), [("vllm", FLAGS), ("sglang", {"continue_final_message": True}), ("llamacpp", {}), ("tgi", {})]
)
@pytest.mark.parametrize("pieces", [0.3, 1.0])
async def test_the_continued_answer_is_the_rest_on_any_replica_of_the_seed(simulated, engine, flags, pieces):
    async with simulated(engine="openai", seed=4, voice="v", model="other") as first:
        answer = await first.stream(first.body())
    prefix = "".join(answer.pieces[: int(len(answer.pieces) * pieces)])
    async with simulated(engine=engine, seed=4, voice="v") as second:
        rest = await second.stream(second.body(prefix=prefix, stream_options={"include_usage": True}, **flags))
    assert prefix + rest.text == answer.text
    assert rest.finish == "stop"
    assert rest.usages[-1].completion_tokens == len(answer.pieces) - int(len(answer.pieces) * pieces)


async def test_a_break_may_happen_again_and_again_across_engines(simulated):
    chain = [("vllm", FLAGS), ("sglang", FLAGS), ("llamacpp", {}), ("vllm", FLAGS)]
    text = None
    for engine, flags in chain:
        async with simulated(engine=engine, seed=4) as client:
            expected = await whole_answer(client)
            more = await client.stream(client.body(prefix=text, max_tokens=5, **(flags if text else {})))
            text = (text or "") + more.text
    assert expected.startswith(text)
    assert len(text.split()) == 20


@pytest.mark.parametrize("engine", ["vllm", "sglang", "llamacpp"])
async def test_a_raw_completion_goes_on_when_its_text_is_sent_again(simulated, engine):
    async with simulated(engine=engine) as client:
        body = {"model": "sim-model", "prompt": "Once upon the state", "max_tokens": 30}
        answer = await client.stream(body, "/v1/completions")
        again = body | {"prompt": body["prompt"] + "".join(answer.pieces[:9]), "max_tokens": 30 - 9}
        rest = await client.stream(again, "/v1/completions")
    assert rest.pieces == answer.pieces[9:]


async def test_vllm_refuses_both_flags_and_the_generation_prompt_is_the_default(simulated):
    async with simulated(engine="vllm") as client:
        both = client.body(prefix="So", continue_final_message=True, add_generation_prompt=True)
        assert (await client.post(both))[0] == 400
        assert (await client.post(client.body(prefix="So", continue_final_message=True)))[0] == 400


@pytest.mark.parametrize(("engine", "fields"), [("openai", FLAGS), ("ollama", FLAGS), ("vllm", {}), ("sglang", {})])
async def test_who_does_not_continue_begins_another_answer(simulated, engine, fields):
    async with simulated(engine=engine) as client:
        answer = await whole_answer(client)
        other = await client.stream(client.body(prefix=answer[:40], **fields))
    assert other.finish == "stop"
    assert not answer.endswith(other.text)


async def test_llamacpp_repeats_the_prefix_only_when_it_does_not_stream(simulated):
    async with simulated(engine="llamacpp") as client:
        answer = await whole_answer(client)
        _, whole = await client.post(client.body(prefix=answer[:40]))
        streamed = await client.stream(client.body(prefix=answer[:40]))
    assert whole["choices"][0]["message"]["content"] == answer
    assert streamed.text == answer[40:]


async def test_llamacpp_refuses_two_trailing_assistant_messages_and_prefill_while_it_thinks(simulated):
    async with simulated(engine="llamacpp") as client:
        body = client.body(prefix="So")
        body["messages"].append({"role": "assistant", "content": "then"})
        assert (await client.post(body))[0] == 400
    async with simulated(engine="llamacpp", reasoning_tokens=4) as client:
        assert (await client.post(client.body(prefix="So")))[0] == 400


async def test_tgi_trims_the_end_of_what_it_continues(simulated):
    async with simulated(engine="tgi") as client:
        answer = await whole_answer(client)
        space = answer.index(" ") + 1
        rest = await client.stream(client.body(prefix=answer[:space]))
    assert answer[:space].rstrip() + rest.text == answer


async def test_a_beginning_of_the_users_own_is_continued_and_can_break_too(simulated):
    async with simulated(engine="vllm") as client:
        answer = await client.stream(client.body(prefix="My own start:", **FLAGS))
        prefix = "My own start:" + "".join(answer.pieces[:7])
        rest = await client.stream(client.body(prefix=prefix, **FLAGS))
    assert rest.pieces == answer.pieces[7:]
