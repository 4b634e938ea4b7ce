"""Names, aliases, entitlements."""

from decimal import Decimal

import pytest

from citadel_edge.config.shape import DeploymentConfig, ModelConfig, PriceConfig
from citadel_edge.errors import Code, RequestError
from citadel_edge.routing.models import Catalogue
from citadel_edge.routing.objective import AUTO_NAMES

CATALOGUE = Catalogue(
    (
        ModelConfig(
            name="big",
            aliases=("gpt-4o", "large"),
            deployments=(DeploymentConfig(upstream="a"),),
            price=PriceConfig(input_per_mtok_usd=0.1, output_per_mtok_usd=0.3),
        ),
        ModelConfig(name="meta/small", deployments=(DeploymentConfig(upstream="a"),)),
    ),
    created=1_700_000_000,
)


def everything(_: str) -> bool:
    return True


@pytest.mark.parametrize("name", ["big", "gpt-4o", "large"])
def test_a_name_and_its_aliases_are_one_model(name: str) -> None:
    assert CATALOGUE.resolve(name, everything).name == "big"


@pytest.mark.parametrize("name", ["auto", "auto:cheap", "BIG", "", "big ", "x" * 5000, "\x1b[31mred"])
def test_an_unknown_name_is_not_found_and_says_what_to_do(name: str) -> None:
    with pytest.raises(RequestError) as caught:
        CATALOGUE.resolve(name, everything)
    assert caught.value.code is Code.MODEL_NOT_FOUND
    assert caught.value.param == "model"
    assert "GET /v1/models" in caught.value.message
    assert len(caught.value.message) < 300
    assert caught.value.message.isprintable()


def test_a_model_outside_the_tier_is_forbidden_under_every_name_and_not_listed() -> None:
    def small_only(name: str) -> bool:
        return name == "meta/small"

    for name in ("big", "gpt-4o"):
        with pytest.raises(RequestError) as caught:
            CATALOGUE.resolve(name, small_only)
        assert caught.value.code is Code.MODEL_NOT_ALLOWED
    assert [entry["id"] for entry in CATALOGUE.entries(small_only)] == ["meta/small", *AUTO_NAMES]


def test_a_tier_may_list_a_model_by_its_alias() -> None:
    assert CATALOGUE.resolve("large", lambda name: name == "large").name == "big"
    with pytest.raises(RequestError):
        CATALOGUE.resolve("gpt-4o", lambda name: name == "large")


def test_entries_have_openais_shape_and_hold_the_aliases() -> None:
    assert [entry["id"] for entry in CATALOGUE.entries(everything)] == [
        "big",
        "gpt-4o",
        "large",
        "meta/small",
        *AUTO_NAMES,
    ]
    assert CATALOGUE.entry("gpt-4o", everything) == {
        "id": "gpt-4o",
        "object": "model",
        "created": 1_700_000_000,
        "owned_by": "citadel-edge",
    }


def test_cost_is_exact() -> None:
    assert CATALOGUE.resolve("big", everything).cost_usd(10, 3) == Decimal("0.0000019")
    assert CATALOGUE.resolve("meta/small", everything).cost_usd(10, 3) == 0
    assert [model.name for model in CATALOGUE] == ["big", "meta/small"]
