"""Limits of tiers in the configuration: what may stand there, and the sentence for what may not."""

import pytest

from citadel_edge.config.limits import LimitsConfig
from citadel_edge.config.load import load
from citadel_edge.errors import ConfigError


def loaded(tmp_path, tier):
    (tmp_path / "config.yaml").write_text(f"tiers: [{{name: t, {tier}}}]\n", encoding="utf-8")
    return load(tmp_path / "config.yaml", environ={}).config.tiers[0]


def test_limits_of_models_and_endpoints_are_read(tmp_path):
    tier = loaded(
        tmp_path, 'by_model: {"nous-hermes2:10.7b": {concurrent: 0}}, by_endpoint: {/v1/embeddings: {usd_per_month: 2}}'
    )
    assert tier.by_model == {"nous-hermes2:10.7b": LimitsConfig(concurrent=0)}
    assert tier.by_endpoint == {"/v1/embeddings": LimitsConfig(usd_per_month=2.0)}
    assert loaded(tmp_path, "by_model: null").by_model == {}
    assert loaded(tmp_path, "by_model: {m: {tokens_per_day: null}}").by_model == {"m": LimitsConfig()}


@pytest.mark.parametrize(
    ("tier", "problem"),
    [
        (
            "concurrent: 10000000001",
            "tiers[0].concurrent: expected a whole number from 0 to 10000000000, got 10000000001",
        ),
        ("concurrent: -1", "tiers[0].concurrent: expected a whole number from 0 to 10000000000, got -1"),
        ("concurrent: 1.5", "tiers[0].concurrent: expected a whole number, got 1.5"),
        ("usd_per_month: 4000001", "tiers[0].usd_per_month: expected a number from 0 to 4000000, got 4000001"),
        ("usd_per_month: .inf", "tiers[0].usd_per_month: expected a number from 0 to 4000000, got inf"),
        ("usd_per_month: .nan", "tiers[0].usd_per_month: expected a number from 0 to 4000000, got nan"),
        (
            "by_model: {m: {tokens_per_dya: 1}}",
            "tiers[0].by_model.m.tokens_per_dya: unknown key; did you mean 'tokens_per_day'?",
        ),
        ("by_model: {m: 5}", "tiers[0].by_model.m: expected a mapping, got a number"),
        ("by_model: {/m: {}}", "tiers[0].by_model: expected the name of a model, got '/m'"),
        ("by_endpoint: {v1: {}}", "tiers[0].by_endpoint: expected an endpoint's path as /v1/embeddings, got 'v1'"),
        ("by_model: [m]", "tiers[0].by_model: expected a mapping, got a list"),
    ],
)
def test_what_may_not_stand_there_is_said(tmp_path, tier, problem):
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, tier)
    assert [str(each).partition("config.yaml: ")[2] or str(each) for each in caught.value.problems] == [problem]


def test_more_models_than_anybody_names_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="at most 100 models, got 101"):
        loaded(tmp_path, f"by_model: {{{', '.join(f'm{n}: {{}}' for n in range(101))}}}")
