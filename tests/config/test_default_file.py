"""The commented `config.yaml` of the repository: complete, true, and its examples load."""

import re
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pytest

from citadel_edge.config.load import load
from citadel_edge.config.paths import Steps
from citadel_edge.config.schema import known_keys
from citadel_edge.config.shape import Config, GraphQLConfig

FILE = Path(__file__).parents[2] / "config.yaml"
VARIABLES = {"GPU_A_KEY": "a", "REDIS_PASSWORD": "b", "POSTGRES_PASSWORD": "c"}
NO_EFFECT = ["logs.prompts"]
UNUSED = {
    "password: ${REDIS_PASSWORD}": "redis: username and password are not used by the embedded Redis",
    "password: ${POSTGRES_PASSWORD}": "postgres: user and password are not used by the embedded PostgreSQL",
}


def test_it_is_the_defaults_and_tiers():
    loaded = load(FILE, environ={})
    assert loaded.warnings == ()
    assert loaded.sources == (FILE,)
    graphql = GraphQLConfig(documents=FILE.parent / "config" / "graphql")
    assert replace(loaded.config, tiers=()) == Config(data_dir=FILE.parent / "var", graphql=graphql)


def test_its_tiers_are_from_the_smallest_to_the_unlimited():
    tiers = load(FILE, environ={}).config.tiers
    assert [tier.name for tier in tiers] == ["free", "pro", "enterprise", "unlimited"]
    assert [tier.priority for tier in tiers] == sorted(tier.priority for tier in tiers)
    assert tiers[0].requests_per_minute == 20
    assert tiers[-1].requests_per_minute is None


def test_it_mentions_every_key():
    text = FILE.read_text(encoding="utf-8")
    missing = [name for name in every_key(()) if not re.search(rf"\b{name}:", text)]
    assert missing == []


LINE = re.compile(r"^(?P<indent> +)#(?P<example>(?P<key>[a-z_]+): .*)$", re.MULTILINE)
EXAMPLES = [match for match in LINE.finditer(FILE.read_text(encoding="utf-8")) if match["key"] != "tls"]


@pytest.mark.parametrize("match", EXAMPLES, ids=lambda match: match["example"])
def test_an_example_can_take_the_place_of_the_line_above_it(tmp_path, match):
    text = FILE.read_text(encoding="utf-8")
    above = [*re.finditer(rf"^{match['indent']}{match['key']}: .*$", text[: match.start()], re.MULTILINE)][-1]
    (tmp_path / "config.yaml").write_text(
        text[: above.start()] + match["indent"] + match["example"] + text[above.end() :], encoding="utf-8"
    )
    assert load(tmp_path / "config.yaml", environ=VARIABLES).warnings in ((), (UNUSED.get(match["example"]),))


def test_its_example_fleet_loads(tmp_path):
    text = FILE.read_text(encoding="utf-8").replace("\nupstreams: []\n", "\n").replace("\nmodels: []\n", "\n")
    text = re.sub(r"^#[a-z]+:\n(?:#.*\n)+", lambda block: re.sub("(?m)^#", "", block[0]), text, flags=re.MULTILINE)
    (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
    loaded = load(tmp_path / "config.yaml", environ=VARIABLES)
    assert [upstream.id for upstream in loaded.config.upstreams] == ["gpu-a", "gpu-b", "desk-1"]
    assert [model.name for model in loaded.config.models] == ["mixtral-8x7b", "hermes-2"]
    assert loaded.warnings == ()


def test_what_has_no_effect_is_marked():
    text = FILE.read_text(encoding="utf-8")
    marked = re.findall(r"^[#\s]*(\w+)\b.*\(no effect yet\)", text, re.MULTILINE)
    assert marked == [name.rpartition(".")[2] for name in NO_EFFECT]


def every_key(steps: Steps) -> set[str]:
    """All names of the shape, down to the leaves."""
    found: set[str] = set()
    for name in known_keys(steps):
        found.add(name)
        for below in ((name,), (name, 0), (name, "routing-api")):
            found |= every_key((*steps, *below))
    return found


def test_the_shape_is_made_of_dataclasses_all_the_way():
    assert all(is_dataclass(getattr(Config(), field.name)) for field in fields(Config) if known_keys((field.name,)))
