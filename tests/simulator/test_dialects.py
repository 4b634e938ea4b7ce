"""Each engine's routes, shapes, usage in streams, refusals: what a router reads."""

import json

import pytest

from citadel_edge.simulator.text import count_tokens

ENGINES = ["vllm", "sglang", "llamacpp", "ollama", "tgi", "openai"]
MODEL = "sim-model"
ASKED = {"include_usage": True}


@pytest.mark.parametrize("engine", ENGINES)
async def test_streamed_and_whole_answers_are_the_same_text_and_count(simulated, engine):
    async with simulated(engine=engine, seed=5) as client:
        status, whole = await client.post(client.body())
        streamed = await client.stream(client.body(stream_options=ASKED))
    assert status == 200
    assert streamed.ended
    assert streamed.text == whole["choices"][0]["message"]["content"]
    assert streamed.finish == whole["choices"][0]["finish_reason"] == "stop"
    usage = streamed.usages[-1]
    assert usage.completion_tokens == whole["usage"]["completion_tokens"] == count_tokens(streamed.text)
    assert usage.prompt_tokens == whole["usage"]["prompt_tokens"] > 0
    assert len(streamed.pieces) == usage.completion_tokens


@pytest.mark.parametrize("engine", ENGINES)
async def test_two_servers_of_one_seed_answer_byte_by_byte_alike(simulated, engine):
    bodies = []
    for _ in range(2):
        async with simulated(engine=engine, seed=5) as client, client.open(client.body(stream=True)) as answer:
            bodies.append(await answer.read())
    assert bodies[0] == bodies[1]


@pytest.mark.parametrize("engine", ENGINES)
async def test_max_tokens_ends_with_length_and_stop_strings_with_stop(simulated, engine):
    async with simulated(engine=engine) as client:
        whole = await client.stream(client.body())
        short = await client.stream(client.body(max_tokens=7, stream_options=ASKED))
        stopped = await client.stream(client.body(stop=[whole.pieces[6]]))
        legacy = await client.stream({"model": MODEL, "prompt": "Once", "max_tokens": 5}, "/v1/completions")
    assert (short.finish, short.pieces) == ("length", whole.pieces[:7])
    assert short.usages[-1].completion_tokens == 7
    assert (stopped.finish, stopped.text) == ("stop", whole.text[: whole.text.index(whole.pieces[6])])
    assert (legacy.finish, len(legacy.pieces), legacy.ended) == ("length", 5, True)


@pytest.mark.parametrize("engine", ["vllm", "sglang", "llamacpp", "tgi", "openai"])
async def test_a_forced_tool_is_called_streamed_and_whole(simulated, engine):
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"properties": {"city": {}}}}}
    async with simulated(engine=engine) as client:
        for choice in ("required", {"type": "function", "function": {"name": "weather"}}):
            body = client.body(tools=[tool], tool_choice=choice)
            _, whole = await client.post(body)
            streamed = await client.stream(body)
            called = whole["choices"][0]["message"]["tool_calls"][0]["function"]
            calls = [
                call for chunk in streamed.raw for c in chunk["choices"] for call in c["delta"].get("tool_calls") or ()
            ]
            assert called["name"] == calls[0]["function"]["name"] == "weather"
            assert "".join(call["function"]["arguments"] for call in calls) == called["arguments"]
            assert set(json.loads(called["arguments"])) == {"city"}
            assert streamed.finish == whole["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("engine", "field"), [("vllm", "reasoning"), ("sglang", "reasoning_content"), ("llamacpp", "reasoning_content")]
)
async def test_reasoning_comes_in_the_engines_field_and_counts(simulated, engine, field):
    async with simulated(engine=engine, reasoning_tokens=6) as client:
        _, whole = await client.post(client.body())
        streamed = await client.stream(client.body(stream_options=ASKED))
    thought = "".join(choice.delta.thought or "" for choice in streamed.choices)
    message = whole["choices"][0]["message"]
    assert thought == message[field]
    assert count_tokens(thought) == 6
    assert streamed.usages[-1].completion_tokens == 6 + count_tokens(message["content"])


async def test_openai_keeps_its_thoughts_to_itself_but_counts_them(simulated):
    async with simulated(engine="openai", reasoning_tokens=6) as client:
        streamed = await client.stream(client.body(stream_options=ASKED))
    usage = streamed.usages[-1]
    assert usage.completion_tokens == 6 + len(streamed.pieces)
    assert usage.completion_tokens_details.reasoning_tokens == 6


# -- usage in streams ------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
async def test_without_being_asked_no_chat_stream_carries_usage(simulated, engine):
    async with simulated(engine=engine) as client:
        assert not any((await client.stream(client.body())).usages)


@pytest.mark.parametrize("engine", ENGINES)
async def test_asked_for_usage_comes_last_on_a_chunk_without_choices(simulated, engine):
    async with simulated(engine=engine) as client:
        streamed = await client.stream(client.body(stream_options=ASKED))
    assert [usage is not None for usage in streamed.usages] == [False] * (len(streamed.usages) - 1) + [True]
    assert streamed.chunks[-1].choices == []


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
async def test_continuous_usage_counts_up_on_every_chunk(simulated, engine):
    async with simulated(engine=engine) as client:
        options = {"include_usage": True, "continuous_usage_stats": True}
        streamed = await client.stream(client.body(max_tokens=4, stream_options=options))
    counts = [usage.completion_tokens for usage in streamed.usages]
    assert counts[0] == 0
    assert counts == sorted(counts)
    assert counts[-1] == 4


async def test_an_old_llamacpp_sends_usage_unasked_beside_the_finish(simulated):
    async with simulated(engine="llamacpp", usage_always=True) as client:
        streamed = await client.stream(client.body())
    assert streamed.usages[-1].completion_tokens == len(streamed.pieces)
    assert streamed.chunks[-1].choices[0].finish_reason == "stop"


async def test_llamacpp_puts_usage_of_legacy_completions_beside_the_finish_unasked(simulated):
    async with simulated(engine="llamacpp") as client:
        streamed = await client.stream({"prompt": "Once", "max_tokens": 4}, "/v1/completions")
    assert streamed.usages[-1].completion_tokens == 4
    assert streamed.chunks[-1].choices[0].finish_reason == "length"


async def test_ollama_puts_zeroed_usage_on_each_legacy_chunk(simulated):
    async with simulated(engine="ollama") as client:
        body = {"model": MODEL, "prompt": "Once", "max_tokens": 4}
        plain = await client.stream(body, "/v1/completions")
        asked = await client.stream({**body, "stream_options": ASKED}, "/v1/completions")
    assert {usage.total_tokens for usage in plain.usages} == {0}
    assert asked.usages[-1].completion_tokens == 4


# -- probes, models, native routes -----------------------------------------------------------------

PROBES = {"vllm": "/health", "sglang": "/ready", "llamacpp": "/health", "ollama": "/api/version", "tgi": "/health"}


@pytest.mark.parametrize(("engine", "path"), PROBES.items())
async def test_the_probe_answers_200(simulated, engine, path):
    async with simulated(engine=engine) as client:
        assert (await client.get(path))[0] == 200
        assert client.sim.stats.started == 0


@pytest.mark.parametrize("engine", ENGINES)
async def test_models_lists_the_model(simulated, engine):
    async with simulated(engine=engine, context_tokens=777) as client:
        status, body = await client.get("/v1/models")
    card = json.loads(body)["data"][0]
    assert (status, card["id"], card["object"]) == (200, MODEL, "model")
    assert card.get("max_model_len") == (777 if engine in ("vllm", "sglang") else None)
    assert card["created"] == (0 if engine == "tgi" else client.sim.options.created)


async def test_native_routes_tell_the_size(simulated):
    async with simulated(engine="llamacpp", slots=3, context_tokens=512) as client:
        props = json.loads((await client.get("/props"))[1])
        slots = json.loads((await client.get("/slots"))[1])
    assert (props["total_slots"], props["default_generation_settings"]["n_ctx"], props["is_sleeping"]) == (
        3,
        512,
        False,
    )
    assert [slot["is_processing"] for slot in slots] == [False] * 3
    async with simulated(engine="ollama", context_tokens=512) as client:
        loaded = json.loads((await client.get("/api/ps"))[1])["models"][0]
    assert (loaded["context_length"], loaded["size_vram"] > 0, "expires_at" in loaded) == (512, True, True)
    async with simulated(engine="tgi", context_tokens=512) as client:
        info = json.loads((await client.get("/info"))[1])
    assert (info["max_total_tokens"], info["max_concurrent_requests"]) == (512, 128)
    async with simulated(engine="sglang", slots=9) as client:
        info = json.loads((await client.get("/get_server_info"))[1])
        load = json.loads((await client.get("/get_load"))[1])[0]
        model = json.loads((await client.get("/get_model_info"))[1])
    assert (info["max_running_requests"], load["num_reqs"], model["is_generation"]) == (9, 0, True)


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("engine", "status", "words"),
    [
        ("vllm", 400, "maximum context length is 64 tokens"),
        ("sglang", 400, "longer than the model's context length (64 tokens)"),
        ("llamacpp", 400, "exceeds the available context size (64 tokens)"),
        ("tgi", 422, "`inputs` must have less than 64 tokens"),
        ("openai", 400, "maximum context length is 64 tokens"),
    ],
)
async def test_a_prompt_past_the_context_is_refused_in_the_engines_words(simulated, engine, status, words):
    async with simulated(engine=engine, context_tokens=64) as client:
        got, answer = await client.post(client.body("word " * 100))
        assert (got, words in json.dumps(answer)) == (status, True)
        got, _ = await client.post(client.body("word " * 100, stream=True))
        assert got == status
        assert client.sim.stats.totals()["refused"] == 2


async def test_llamacpp_names_the_counts_and_openai_the_code(simulated):
    async with simulated(engine="llamacpp", context_tokens=64) as client:
        _, answer = await client.post(client.body("word " * 100))
    assert answer["error"]["type"] == "exceed_context_size_error"
    assert answer["error"]["n_prompt_tokens"] > answer["error"]["n_ctx"] == 64
    async with simulated(engine="openai", context_tokens=64) as client:
        _, answer = await client.post(client.body(max_tokens=5000))
    assert answer["error"]["code"] == "context_length_exceeded"


async def test_ollama_cuts_the_prompt_off_at_the_front_instead(simulated):
    async with simulated(engine="ollama", context_tokens=64) as client:
        status, answer = await client.post(client.body("word " * 100))
    assert (status, answer["usage"]["prompt_tokens"]) == (200, 64)


async def test_llamacpp_cuts_max_tokens_at_the_end_of_the_context(simulated):
    async with simulated(engine="llamacpp", context_tokens=64) as client:
        _, answer = await client.post(client.body(max_tokens=5000, ignore_eos=True))
    assert answer["usage"]["total_tokens"] == 64
    assert answer["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("engine", "status"), [("vllm", 404), ("ollama", 404), ("openai", 404), ("sglang", 200), ("tgi", 200)]
)
async def test_an_unknown_model(simulated, engine, status):
    async with simulated(engine=engine) as client:
        assert (await client.post({**client.body(), "model": "other"}))[0] == status


async def test_vllm_refuses_priority_and_stream_options_without_a_stream(simulated):
    async with simulated(engine="vllm") as client:
        status, answer = await client.post(client.body(priority=3))
        assert (status, answer["error"]["code"], answer["error"]["type"]) == (400, 400, "BadRequestError")
        assert (await client.post(client.body(priority=0)))[0] == 200
        assert (await client.post(client.body(stream_options=ASKED)))[0] == 400


BROKEN = [
    b"{",
    b"[]",
    b"\xff",
    b'{"messages": 1}',
    b'{"messages": []}',
    b'{"messages": [1]}',
    b'{"messages": [{"content": "x"}]}',
    b'{"messages": [{"role": "user", "content": 5}]}',
    b'{"messages": [{"role": "user", "content": "x"}], "max_tokens": "many"}',
    b'{"messages": [{"role": "user", "content": "x"}], "n": 2}',
    b'{"messages": [{"role": "user", "content": "x"}], "tool_choice": "required"}',
    b'{"messages": ' + b"[" * 100_000,
]


@pytest.mark.parametrize("engine", ["llamacpp", "sglang", "tgi"])
async def test_malformed_bodies_are_the_clients_fault(simulated, engine):
    async with simulated(engine=engine) as client:
        for body in BROKEN:
            async with client.session.post(client.sim.url + "/v1/chat/completions", data=body) as answer:
                assert answer.status == (422 if engine == "tgi" else 400), body
        assert client.sim.stats.active == {}


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_key_is_demanded_but_not_on_the_probe(simulated, engine):
    async with simulated(engine=engine, api_key="secret") as client:
        assert (await client.post(client.body()))[0] == 401
        key = {"Authorization": "Bearer secret"}
        assert (await client.post(client.body(), headers=key))[0] == 200
        if engine in PROBES:
            assert (await client.get(PROBES[engine]))[0] == 200


async def test_embeddings_are_vectors_of_length_one_and_count_tokens(simulated):
    async with simulated(engine="vllm") as client:
        body = {"model": MODEL, "input": ["one two", "three", "one two"]}
        status, answer = await client.post(body, "/v1/embeddings")
    vectors = [item["embedding"] for item in answer["data"]]
    assert (status, answer["usage"]["prompt_tokens"]) == (200, 5)
    assert vectors[0] == vectors[2] != vectors[1]
    assert sum(value * value for value in vectors[0]) == pytest.approx(1)


async def test_embeddings_where_there_are_none(simulated):
    async with simulated(engine="llamacpp", embeddings=False) as client:
        assert (await client.post({"input": "x"}, "/v1/embeddings"))[0] == 501
    async with simulated(engine="tgi") as client:
        assert (await client.post({"input": "x"}, "/v1/embeddings"))[0] == 404
