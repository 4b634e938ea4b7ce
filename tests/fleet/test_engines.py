"""What each engine says of itself, read from the page that it shows."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.config.shape import Engine
from citadel_edge.fleet.engines import llamacpp, ollama, prometheus, sglang, tgi, vllm
from citadel_edge.fleet.engines.facts import Facts, read_models
from citadel_edge.fleet.engines.known import DIALECTS, dialect_of
from citadel_edge.fleet.gauges import Reading

VLLM = b"""\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a b}c"} 12.0
vllm:num_requests_running{engine="1",model_name="a b}c"} 3.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 99.0
vllm:num_requests_waiting{engine="0",model_name="a b}c"} 4.0 1760000000000
vllm:num_requests_waiting{engine="1",model_name="a b}c"} 0.0
vllm:kv_cache_usage_perc{engine="0",model_name="a b}c"} 0.5
vllm:kv_cache_usage_perc{engine="1",model_name="a b}c"} 1.0
"""


def test_vllm_adds_its_engine_cores_and_means_their_caches() -> None:
    assert vllm.read_load(VLLM) == Reading(15, 4, 0.75)


def test_an_older_vllm_names_its_cache_differently() -> None:
    old = VLLM.replace(b"vllm:kv_cache_usage_perc", b"vllm:gpu_cache_usage_perc")
    assert vllm.read_load(old) == Reading(15, 4, 0.75)


@pytest.mark.parametrize("prefix", [b"sglang:", b"sglang_"])
def test_sglang_is_read_under_either_prefix(prefix: bytes) -> None:
    page = b'%(p)snum_running_reqs{tp_rank="0"} 7.0\n%(p)snum_queue_reqs{tp_rank="0"} 2.0\n%(p)stoken_usage 0.25\n'
    assert sglang.read_load(page % {b"p": prefix}) == Reading(7, 2, 0.25)


def test_llamacpp_and_tgi_tell_no_cache() -> None:
    assert llamacpp.read_load(b"llamacpp:requests_processing 2\nllamacpp:requests_deferred 5\n") == Reading(2, 5)
    assert tgi.read_load(b"tgi_queue_size 5\ntgi_batch_current_size 2\n") == Reading(2, 5)


@pytest.mark.parametrize("engine", [engine for engine in Engine if dialect_of(engine).load])
@pytest.mark.parametrize("page", [b"", b"\n", b"hello", b"<html>", b"\xff\xfe", b'{"error": 501}'])
def test_a_page_without_the_gauges_says_nothing(engine: Engine, page: bytes) -> None:
    load = dialect_of(engine).load
    assert load is not None
    assert load.read(page) is None


@pytest.mark.parametrize(
    "line", [b"m", b"m ", b"m x", b"m NaN", b"m +Inf", b"m{a=", b'm{a="b"}', b"mm 1", b"# m 1", b" m 1", b"m 1"]
)
def test_a_broken_or_cut_line_is_no_sample(line: bytes) -> None:
    assert list(prometheus.values(line, b"m")) == []
    assert list(prometheus.values(line + b"\n", b"m")) == ([1.0] if line == b"m 1" else [])


@given(
    samples=st.lists(st.tuples(st.sampled_from(["m", "mm", "n"]), st.text('ab{}" ,=', max_size=8), st.integers(0, 99)))
)
def test_every_sample_of_the_name_is_found_wherever_it_stands(samples: list[tuple[str, str, int]]) -> None:
    page = "".join(f'{name}{{l="{label}"}} {value}\n' for name, label, value in samples)
    assert list(prometheus.values(page.encode(), b"m")) == [value for name, _, value in samples if name == "m"]


@given(page=st.binary(max_size=200), name=st.sampled_from([b"m", b"vllm:num_requests_running"]))
def test_no_page_breaks_a_reader(page: bytes, name: bytes) -> None:
    list(prometheus.values(page, name))
    list(prometheus.values(name + page, name))
    for dialect in DIALECTS.values():
        if dialect.load:
            dialect.load.read(page)
        for facts in dialect.facts:
            facts.read(page)


json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**12) | st.text(max_size=3) | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                "data id max_model_len parent models name context_length total_slots internal_states".split()
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(value=json)
def test_no_json_breaks_a_reader(value: object) -> None:
    page = msgspec.json.encode(value)
    for dialect in DIALECTS.values():
        for facts in dialect.facts:
            found = facts.read(page)
            assert found.slots is None or found.slots > 0
            assert all(tokens > 0 for tokens in found.contexts.values())


def test_an_adapter_has_its_parents_context() -> None:
    page = b"""{"data": [{"id": "lora", "parent": "base", "max_model_len": null}, {"id": "base", "max_model_len": 8192},
               {"id": "other", "parent": "nobody"}, {"id": 7, "max_model_len": 1}, null]}"""
    assert read_models(page) == Facts(contexts={"base": 8192, "lora": 8192})


def test_sglang_runs_as_much_as_its_ranks_together() -> None:
    ranks = b'{"max_running_requests": 5, "internal_states": [{"effective_max_running_requests_per_dp": 64}, %s]}'
    assert sglang.read_info(ranks % b'{"effective_max_running_requests_per_dp": 32}').slots == 96
    assert sglang.read_info(b'{"max_running_requests": 48, "internal_states": []}').slots == 48
    assert sglang.read_info(b'{"max_running_requests": null}').slots is None


def test_llamacpps_props_tell_slots_context_and_sleep() -> None:
    page = b'{"default_generation_settings": {"n_ctx": 2048}, "total_slots": 2, "is_sleeping": true}'
    assert llamacpp.read_props(page) == Facts(slots=2, any_context=2048, sleeping=True)
    assert llamacpp.read_props(b"{}") == Facts()


def test_ollamas_models_have_a_name_with_and_without_their_latest_tag() -> None:
    page = b'{"models": [{"name": "qwen:latest", "context_length": 4096}, {"name": "a:1b", "context_length": 8}, {}]}'
    assert ollama.read_loaded(page).contexts == {"qwen:latest": 4096, "qwen": 4096, "a:1b": 8}


def test_tgis_info_tells_its_bound_and_its_context() -> None:
    assert tgi.read_info(b'{"max_concurrent_requests": 128, "max_total_tokens": 4096}') == Facts(
        slots=128, any_context=4096
    )


@pytest.mark.parametrize(
    ("engine", "slots"),
    [
        (Engine.VLLM, 256),
        (Engine.SGLANG, 256),
        (Engine.LLAMACPP, 1),
        (Engine.OLLAMA, 1),
        (Engine.TGI, 128),
        (Engine.OPENAI, 64),
    ],
)
def test_each_engine_has_a_number_of_slots_when_nobody_says(engine: Engine, slots: int) -> None:
    assert dialect_of(engine).slots == slots
