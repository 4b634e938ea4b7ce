"""What tokens cost."""

from decimal import Decimal
from math import inf, nan

from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.config.shape import DeploymentConfig, ModelConfig, PriceConfig
from citadel_edge.routing.cost import Model, TokenCost, gpu_cost, priced


def model(input_usd: float = 0, output_usd: float = 0) -> Model:
    price = PriceConfig(input_per_mtok_usd=input_usd, output_per_mtok_usd=output_usd)
    return priced(ModelConfig(name="m", deployments=(DeploymentConfig(upstream="a"),), price=price))


GPU = TokenCost(Decimal("1e-7"), Decimal("1e-6"))


def test_the_price_counts_before_the_gpu_and_half_a_price_is_one() -> None:
    assert model(0.5, 1.5).cost_usd(1000, 100, GPU) == Decimal("0.00065")
    assert model(0, 1.5).cost_usd(1000, 100, GPU) == Decimal("0.00015")


def test_without_a_price_the_gpu_counts_and_without_either_nothing() -> None:
    assert model().cost_usd(1000, 100, GPU) == Decimal("0.0002")
    assert model().cost_usd(1000, 100) == 0


def test_a_gpu_hour_is_shared_by_the_tokens_it_makes() -> None:
    cost = gpu_cost(3.6, tokens_per_s=1000, token_s=0.02, prefill_token_s=0.0001)
    assert cost.output_usd == Decimal("0.000001")
    assert cost.input_usd == Decimal("1E-7")
    assert gpu_cost(3.6, tokens_per_s=2000, token_s=0.02).output_usd * 2 == cost.output_usd


def test_an_idle_gpu_costs_as_if_the_request_ran_alone() -> None:
    assert gpu_cost(3.6, tokens_per_s=0, token_s=0.02) == gpu_cost(3.6, tokens_per_s=49, token_s=0.02)


def test_prompt_tokens_are_never_dearer() -> None:
    slow_prefill = gpu_cost(3.6, tokens_per_s=100, token_s=0.02, prefill_token_s=5.0)
    assert slow_prefill.input_usd == slow_prefill.output_usd
    unknown = gpu_cost(3.6, tokens_per_s=100, token_s=0.02)
    assert unknown.input_usd * 10 == unknown.output_usd


def test_before_anything_is_measured_a_usual_speed_is_taken() -> None:
    assert gpu_cost(3.6, tokens_per_s=0, token_s=0) == gpu_cost(3.6, tokens_per_s=30, token_s=0, prefill_token_s=0)
    assert gpu_cost(3.6, tokens_per_s=0, token_s=0).of(1000, 200) < Decimal("0.02")


figures = st.sampled_from([0.0, inf, nan, -1.0, 1e-300]) | st.floats(0, 1e9)


@given(hour=st.floats(0, 1e6), tokens_per_s=figures, token_s=figures, prefill=st.none() | figures)
def test_any_figures_make_a_price_that_can_be_charged(
    hour: float, tokens_per_s: float, token_s: float, prefill: float | None
) -> None:
    cost = gpu_cost(hour, tokens_per_s=tokens_per_s, token_s=token_s, prefill_token_s=prefill)
    assert 0 <= cost.input_usd <= cost.output_usd <= Decimal(hour) / 360 * Decimal("1.0000001") + Decimal("1e-14")
    assert cost.of(10**6, 10**6) == cost.input_usd * 10**6 + cost.output_usd * 10**6


@given(tokens=st.lists(st.integers(0, 10**6), min_size=1))
def test_what_is_charged_in_parts_is_what_is_charged_at_once(tokens: list[int]) -> None:
    cost = gpu_cost(2.1, tokens_per_s=333.3, token_s=0.03)
    assert sum(cost.of(count, count) for count in tokens) == cost.of(sum(tokens), sum(tokens))
