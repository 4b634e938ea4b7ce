"""Which models may answer, in which order, and why not the others."""

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.config.shape import Capability, DeploymentConfig, ModelConfig, Objective, PriceConfig
from citadel_edge.errors import Code, RequestError
from citadel_edge.routing.cost import TokenCost
from citadel_edge.routing.features import Features, Sample, cheap, full
from citadel_edge.routing.models import Catalogue, Model, Outlook, Selection

ALL = frozenset(Capability)
LOOK = Outlook(predicted_ttft_s=0.2, predicted_total_s=2.0)


def config(name: str, usd: float = 0.0, **more: Any) -> ModelConfig:
    price = PriceConfig(input_per_mtok_usd=usd, output_per_mtok_usd=3 * usd)
    return ModelConfig(name=name, deployments=(DeploymentConfig(upstream="a"),), price=price, **more)


SMALL = config("small", 0.05, context_tokens=4096, skills={"chat": 0.7, "code": 0.35, "math": 0.3, "reasoning": 0.3})
BIG = config(
    "big",
    3.0,
    context_tokens=32768,
    skills={"chat": 0.9, "code": 0.9, "math": 0.85, "reasoning": 0.9},
    capabilities=(Capability.TOOLS, Capability.JSON, Capability.VISION),
    aliases=("gpt-4o",),
)
EMBED = config("embed", 0.01, context_tokens=512, capabilities=(Capability.EMBEDDINGS,))


def everything(_: str) -> bool:
    return True


def only(*names: str) -> Callable[[str], bool]:
    return lambda name: name in names


def needing(*needs: Capability, **more: Any) -> Features:
    return cheap(**{"tokens_in": 100, "tokens_out": 200, "needs": frozenset(needs), **more})


def select(
    asked: str, features: Features, models: Iterable[ModelConfig] = (SMALL, BIG, EMBED), **more: Any
) -> Selection:
    settings = {"may_use": everything, "objective": Objective.BALANCED, "outlook": lambda _: LOOK, **more}
    return Catalogue(tuple(models), created=0).select(asked, features, **settings)


def names(selection: Selection) -> list[str]:
    return [model.name for model in selection.ranked]


def excluded(selection: Selection) -> dict[str, str]:
    return {one.name: one.excluded.code.value for one in selection.considered if one.excluded}


def refused(asked: str, features: Features, **more: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        select(asked, features, **more)
    return caught.value


def test_small_talk_goes_to_the_small_and_code_to_the_big_model() -> None:
    talk = full(Sample(question="Hi, write me a short poem about rain, thanks"), tokens_in=20, tokens_out=100)
    code = full(Sample(question="Fix:\n```python\ndef f(x):\n    return x +\n```"), tokens_in=20, tokens_out=100)
    assert names(select("auto", talk)) == ["small", "big"]
    assert names(select("auto", code)) == ["big", "small"]


def test_each_objective_chooses_by_its_own() -> None:
    looks = {"small": Outlook(predicted_ttft_s=0.5, predicted_total_s=9.0), "big": LOOK}
    code = full(Sample(question="Debug this Python function"), tokens_in=20, tokens_out=100)
    chosen = {
        objective: names(
            select("auto", code, models=(SMALL, BIG), objective=objective, outlook=lambda m: looks[m.name])
        )
        for objective in Objective
    }
    assert {objective: ranked[0] for objective, ranked in chosen.items()} == {
        Objective.BALANCED: "big",
        Objective.COST: "small",
        Objective.LATENCY: "big",
        Objective.QUALITY: "big",
    }


def test_the_score_is_the_product_of_its_named_parts() -> None:
    first, second = select("auto", needing(), models=(SMALL, BIG)).considered
    for one in (first, second):
        product = 1.0
        for part in one.parts.values():
            product *= part
        assert one.score == pytest.approx(product)
        assert set(one.parts) == {"quality", "price", "latency"}
    assert first.parts["price"] == 1.0
    assert second.cost_usd == pytest.approx(60 * first.cost_usd)  # type: ignore[operator]


@pytest.mark.parametrize("need", [Capability.TOOLS, Capability.JSON, Capability.VISION])
def test_what_a_request_needs_must_be_there(need: Capability) -> None:
    selection = select("auto", needing(need), objective=Objective.COST)
    assert names(selection) == ["big"]
    assert excluded(selection) == {"small": "capability", "embed": "kind"}
    error = refused("auto", needing(need), models=(SMALL,))
    assert (error.code, error.param) == (Code.INVALID_REQUEST, "model")
    assert need.value in error.message


def test_embeddings_and_chat_are_kept_apart() -> None:
    assert names(select("auto", needing(Capability.EMBEDDINGS))) == ["embed"]
    assert "embed" not in names(select("auto:cheap", needing(), objective=Objective.COST))
    both = config("both", capabilities=(Capability.EMBEDDINGS, Capability.JSON))
    assert names(select("auto", needing(Capability.EMBEDDINGS), models=(both,))) == ["both"]
    assert names(select("auto", needing(), models=(both,))) == ["both"]


def test_asked_to_think_those_that_can_are_preferred_but_not_demanded() -> None:
    thinker = config("thinker", 9.0, capabilities=(Capability.REASONING,))
    assert names(select("auto", needing(Capability.REASONING), models=(SMALL, thinker))) == ["thinker"]
    assert names(select("auto", needing(Capability.REASONING), models=(SMALL,))) == ["small"]


def test_only_what_is_clearly_too_long_is_refused() -> None:
    assert names(select("auto:cheap", needing(tokens_in=4000), models=(SMALL,))) == ["small"]
    assert names(select("auto:cheap", needing(tokens_in=8000), models=(SMALL,))) == ["small"]
    error = refused("auto", needing(tokens_in=8400), models=(SMALL,))
    assert error.code is Code.CONTEXT_LENGTH_EXCEEDED
    assert "4096" in error.message


def test_what_is_probably_too_long_goes_where_there_is_room() -> None:
    selection = select(
        "auto", needing(tokens_in=4000, tokens_out=300), models=(SMALL, BIG), objective=Objective.BALANCED
    )
    assert names(selection) == ["big", "small"]
    assert selection.considered[1].parts["context"] == 0.25


@pytest.mark.parametrize("objective", Objective)
def test_a_prompt_that_is_too_long_by_the_estimate_goes_where_it_is_not_at_any_price(objective: Objective) -> None:
    selection = select("auto", needing(tokens_in=6000), models=(SMALL, BIG), objective=objective)
    assert names(selection) == ["big", "small"]
    away = Outlook(predicted_ttft_s=0.2, predicted_total_s=2, available=False)
    dead = select(
        "auto", needing(tokens_in=6000), models=(SMALL, BIG), outlook=lambda m: away if m.name == "big" else LOOK
    )
    assert names(dead) == ["small", "big"]


def test_the_bound_on_the_answer_needs_room_too() -> None:
    selection = select("auto", needing(max_tokens=8192), models=(SMALL, BIG))
    assert (names(selection), excluded(selection)) == (["big"], {"small": "context"})
    error = refused("auto", needing(max_tokens=8192), models=(SMALL,))
    assert error.code is Code.CONTEXT_LENGTH_EXCEEDED
    assert "max_tokens" in error.message


def test_what_the_engine_says_of_its_context_comes_first() -> None:
    wide = Outlook(predicted_ttft_s=0.2, predicted_total_s=2, context_tokens=100_000)
    assert names(select("auto", needing(tokens_in=50_000), models=(SMALL,), outlook=lambda _: wide)) == ["small"]
    narrow = Outlook(predicted_ttft_s=0.2, predicted_total_s=2, context_tokens=100)
    assert refused("small", needing(tokens_in=1000), outlook=lambda _: narrow).code is Code.CONTEXT_LENGTH_EXCEEDED


def test_a_model_counts_tokens_its_own_way() -> None:
    dense = Outlook(predicted_ttft_s=0.2, predicted_total_s=2, tokens_in=20_000)
    assert refused("auto", needing(), models=(SMALL,), outlook=lambda _: dense).code is Code.CONTEXT_LENGTH_EXCEEDED


def test_of_many_inputs_the_largest_must_fit() -> None:
    features = needing(Capability.EMBEDDINGS, tokens_in=50_000, context_tokens=300)
    assert names(select("auto", features)) == ["embed"]


def test_the_budget_left_bounds_what_auto_may_cost() -> None:
    left = Decimal("0.0001")
    selection = select("auto:best", needing(), objective=Objective.QUALITY, budget_usd=left)
    assert (names(selection), excluded(selection)["big"]) == (["small"], "budget")
    error = refused("auto", needing(), budget_usd=Decimal(-1), models=(BIG,))
    assert error.code is Code.INSUFFICIENT_QUOTA
    assert names(select("big", needing(), budget_usd=left)) == ["big"]  # the limiter's business


def test_auto_chooses_among_what_the_tier_has_under_any_name() -> None:
    assert names(select("auto", needing(), may_use=only("gpt-4o"))) == ["big"]
    assert excluded(select("auto", needing(), may_use=only("small"))) == {"big": "not_allowed", "embed": "not_allowed"}
    assert refused("auto", needing(), may_use=only()).code is Code.MODEL_NOT_ALLOWED
    assert refused("auto", needing(), models=()).code is Code.MODEL_NOT_FOUND
    assert refused("auto:dear", needing()).code is Code.MODEL_NOT_FOUND


def test_a_model_without_a_replica_comes_last() -> None:
    away = Outlook(predicted_ttft_s=0.2, predicted_total_s=2, available=False)
    selection = select("auto", needing(), models=(SMALL, BIG), outlook=lambda m: away if m.name == "small" else LOOK)
    assert names(selection) == ["big", "small"]
    assert not selection.considered[1].available


def test_a_free_gpu_is_not_free() -> None:
    dear, fair = config("dear"), config("fair")
    costs = {"dear": TokenCost(Decimal("1e-5"), Decimal("1e-4")), "fair": TokenCost(Decimal("1e-7"), Decimal("1e-6"))}
    selection = select(
        "auto:cheap",
        needing(),
        models=(dear, fair),
        objective=Objective.COST,
        outlook=lambda m: Outlook(predicted_ttft_s=0.2, predicted_total_s=2, gpu=costs[m.name]),
    )
    assert names(selection) == ["fair", "dear"]
    assert selection.considered[0].cost_usd == pytest.approx(0.00021)


def test_a_language_and_length_that_a_model_is_bad_at_count() -> None:
    one = config("one", skills={"chat": 0.8, "lang:de": 0.5})
    two = config("two", skills={"chat": 0.7, "long": 0.5})
    german = full(Sample(question="Hallo, wie geht es dir und was machst du?"), tokens_in=10, tokens_out=10)
    assert names(select("auto", german, models=(one, two))) == ["two", "one"]
    long = needing(tokens_in=9000)
    wide = Outlook(predicted_ttft_s=0.2, predicted_total_s=2, context_tokens=100_000)
    assert names(select("auto", long, models=(two, one), outlook=lambda _: wide)) == ["one", "two"]


def test_feedback_may_turn_the_order() -> None:
    twins = (config("one", skills={"chat": 0.6}), config("two", skills={"chat": 0.6}))
    assert names(select("auto", needing(), models=twins)) == ["one", "two"]  # as configured
    assert (
        names(select("auto", needing(), models=twins, skill=lambda m, _: 0.9 if m.name == "two" else 0.1))[0] == "two"
    )


NAMED = config("named", context_tokens=4096, fallbacks=("tiny", "able", "other"))
TINY = config("tiny", context_tokens=256)
ABLE = config("able", context_tokens=8192, capabilities=(Capability.TOOLS,))
OTHER = config("other", context_tokens=8192)
HOUSE = (NAMED, TINY, ABLE, OTHER)


def test_a_named_model_comes_first_and_its_fallbacks_in_their_order() -> None:
    for objective in Objective:
        assert names(select("named", needing(), models=HOUSE, objective=objective)) == ["named", "able", "other"]
    assert excluded(select("named", needing(), models=HOUSE)) == {"tiny": "context"}


def test_a_named_models_abilities_are_its_engines_business_its_fallbacks_are_ours() -> None:
    selection = select("named", needing(Capability.TOOLS), models=HOUSE)
    assert (names(selection), excluded(selection)) == (["named", "able"], {"tiny": "capability", "other": "capability"})
    assert names(select("named", needing(max_tokens=100_000), models=HOUSE)) == ["named"]


def test_a_named_model_that_is_too_small_gives_way_to_a_fallback_that_is_not() -> None:
    assert names(
        select("tiny", needing(tokens_in=5000), models=(config("tiny", context_tokens=256, fallbacks=("able",)), ABLE))
    ) == ["able"]
    error = refused("tiny", needing(tokens_in=5000), models=HOUSE)
    assert error.code is Code.CONTEXT_LENGTH_EXCEEDED


def test_fallbacks_outside_the_tier_are_out() -> None:
    selection = select("named", needing(), models=HOUSE, may_use=only("named", "other"))
    assert names(selection) == ["named", "other"]
    assert excluded(selection)["able"] == "not_allowed"


@pytest.mark.parametrize("dead", ["named", "able"])
def test_a_named_model_comes_first_and_its_fallbacks_in_order_though_nobody_serves_them_now(dead: str) -> None:
    away = Outlook(predicted_ttft_s=0.2, predicted_total_s=2, available=False)
    selection = select("named", needing(), models=HOUSE, outlook=lambda m: away if m.name == dead else LOOK)
    assert names(selection) == ["named", "able", "other"]
    assert {one.name for one in selection.considered if not one.available} == {dead}


@pytest.mark.parametrize("field", ["messages", "prompt", "input"])
@pytest.mark.parametrize("asked", ["auto", "small"])
def test_the_refusal_of_a_prompt_names_the_field_that_holds_it(asked: str, field: str) -> None:
    error = refused(asked, needing(tokens_in=9000), models=(SMALL,), prompt_field=field)
    assert (error.code, error.param) == (Code.CONTEXT_LENGTH_EXCEEDED, field)


seconds = st.sampled_from([0.0, float("inf"), float("nan")]) | st.floats(0, 1e4)
houses = st.lists(
    st.tuples(
        st.floats(0, 100),  # price
        st.integers(1, 10**6),  # context
        st.frozensets(st.sampled_from(Capability)),
        st.dictionaries(st.sampled_from(["chat", "code", "lang:en"]), st.floats(0, 1)),
        st.booleans(),  # available
        st.booleans(),  # allowed
        seconds,
    ),
    min_size=1,
    max_size=6,
)


@given(
    house=houses,
    needs=st.frozensets(st.sampled_from(Capability)),
    tokens=st.tuples(st.integers(0, 10**6), st.integers(0, 10**5), st.none() | st.integers(0, 10**6)),
    objective=st.sampled_from(Objective),
    budget=st.none() | st.decimals(-1, 10, places=6),
)
def test_whatever_is_chosen_is_allowed_able_large_enough_and_affordable(
    house: Any, needs: frozenset[Capability], tokens: Any, objective: Objective, budget: Decimal | None
) -> None:
    models = [
        config(f"m{n}", one[0], context_tokens=one[1], capabilities=tuple(one[2]), skills=one[3])
        for n, one in enumerate(house)
    ]
    facts = {f"m{n}": one for n, one in enumerate(house)}
    features = cheap(tokens_in=tokens[0], tokens_out=tokens[1], max_tokens=tokens[2], needs=needs)

    def outlook(model: Model) -> Outlook:
        wait = facts[model.name][6]
        return Outlook(predicted_ttft_s=wait / 2, predicted_total_s=wait, available=facts[model.name][4])

    try:
        selection = select(
            "auto",
            features,
            models=models,
            objective=objective,
            budget_usd=budget,
            may_use=lambda name: facts[name][5],
            outlook=outlook,
        )
    except RequestError as error:
        assert error.code in {  # noqa: PT017 - either way is fine
            Code.MODEL_NOT_ALLOWED,
            Code.CONTEXT_LENGTH_EXCEEDED,
            Code.INVALID_REQUEST,
            Code.INSUFFICIENT_QUOTA,
        }
        assert (error.code is Code.MODEL_NOT_ALLOWED) == (not any(one[5] for one in house))  # noqa: PT017
        return
    assert {one.name for one in selection.considered} == set(facts)
    assert [one.name for one in selection.considered if not one.excluded] == names(selection)
    usable = [facts[name][4] for name in names(selection)]
    assert usable == sorted(usable, reverse=True)
    for model in selection.ranked:
        _, context, capabilities, _, _, allowed, _ = facts[model.name]
        assert allowed
        assert tokens[0] / 2 + (tokens[2] or 0) <= context
        assert budget is None or model.cost_usd(tokens[0], tokens[1]) <= budget
        if Capability.EMBEDDINGS in needs:
            assert Capability.EMBEDDINGS in capabilities
        else:
            assert needs - {Capability.REASONING} <= capabilities
    for one in selection.considered:
        assert one.score is None or 0 <= one.score <= 1 + 1e-9
