"""What scores teach."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.config.shape import DeploymentConfig, ModelConfig
from citadel_edge.routing.cost import Model, priced
from citadel_edge.routing.feedback import MEMORY, MOST_OF_ONE, PRIOR_OPINIONS, LearnedSkills


def model(name: str = "m", **skills: float) -> Model:
    return priced(ModelConfig(name=name, deployments=(DeploymentConfig(upstream="a"),), skills=skills))


def taught(*scores: float, task: str = "code") -> LearnedSkills:
    learned = LearnedSkills()
    for number, score in enumerate(scores):
        learned.observe("m", user=f"u{number % 100}", tasks={task: 1.0}, score=score)
    return learned


def test_without_feedback_the_operator_is_right_and_where_he_is_silent_it_is_a_half() -> None:
    assert LearnedSkills().skill(model(code=0.8), "code") == 0.8
    assert LearnedSkills().skill(model(), "code") == 0.5


def test_twenty_opinions_weigh_as_much_as_the_operator() -> None:
    assert taught(*[0.0] * 20).skill(model(code=0.8), "code") == pytest.approx(0.4, abs=0.03)
    assert taught(1.0).skill(model(code=0.8), "code") == pytest.approx(0.81, abs=0.005)


def test_feedback_touches_its_model_and_its_tasks_only() -> None:
    learned = taught(*[0.0] * 50)
    assert learned.skill(model(math=0.7), "math") == 0.7
    assert learned.skill(model("other", code=0.7), "code") == 0.7


def test_a_mixed_request_teaches_by_shares() -> None:
    learned = LearnedSkills()
    for number in range(20):
        learned.observe("m", user=f"u{number}", tasks={"code": 0.75, "chat": 0.25}, score=0.0)
    assert learned.skill(model(), "code") < learned.skill(model(), "chat") < 0.5


def test_what_is_long_past_is_forgotten() -> None:
    learned = taught(*[0.0] * 2000, *[1.0] * 1000)
    assert learned.opinions("m", "code") <= MEMORY + 1e-6
    assert learned.skill(model(code=0.9), "code") > 0.95


def test_a_changed_mind_counts_once() -> None:
    learned = taught(0.0)
    learned.observe("m", user="u0", tasks={"code": 1.0}, score=1.0, replaces=0.0)
    assert learned.opinions("m", "code") == 1
    assert learned.skill(model(), "code") == pytest.approx(taught(1.0).skill(model(), "code"))


def test_nonsense_teaches_nothing() -> None:
    learned = taught(-1.0, 2.0, float("nan"))
    learned.observe("m", user="u", tasks={"dancing": 1.0, "code": -3.0}, score=0.0)
    assert learned.skill(model(), "code") == 0.5
    assert learned.skill(model(), "chat") < 0.5  # a request of no known task is chat


def test_models_that_come_and_go_do_not_fill_the_memory() -> None:
    learned = LearnedSkills()
    for number in range(6000):
        learned.observe(f"m{number}", user="u", tasks={"chat": 1.0}, score=0.5)
    assert learned.opinions("m0", "chat") == 0
    assert learned.opinions("m5999", "chat") == 1


def test_one_user_counts_as_ten_and_pushes_out_nobody() -> None:
    crowd = taught(*[0.9] * 100)
    before = crowd.skill(model(code=0.5), "code")
    for _ in range(5000):
        crowd.observe("m", user="troll", tasks={"code": 1.0}, score=0.0)
    assert crowd.opinions("m", "code") == pytest.approx(taught(*[0.9] * 100).opinions("m", "code") + MOST_OF_ONE, abs=5)
    assert before - 0.1 < crowd.skill(model(code=0.5), "code") < before
    alone = LearnedSkills()
    for _ in range(5000):
        alone.observe("m", user="troll", tasks={"code": 1.0}, score=0.0)
    assert alone.opinions("m", "code") == pytest.approx(MOST_OF_ONE)
    weighed = PRIOR_OPINIONS * 0.8 / (PRIOR_OPINIONS + MOST_OF_ONE)
    assert alone.skill(model(code=0.8), "code") == pytest.approx(weighed)


def test_of_one_user_the_late_opinions_count() -> None:
    learned = LearnedSkills()
    for score in [0.0] * 200 + [1.0] * 100:
        learned.observe("m", user="u", tasks={"code": 1.0}, score=score)
    assert learned.skill(model(code=1.0), "code") > 0.99


def test_users_without_end_do_not_fill_the_memory_and_a_year_of_opinions_is_counted_right() -> None:
    learned = LearnedSkills()
    for number in range(20_000):
        learned.observe("m", user=f"u{number}", tasks={"code": 1.0}, score=0.25)
    assert learned.opinions("m", "code") == pytest.approx(MEMORY)
    assert learned.skill(model(code=0.25), "code") == pytest.approx(0.25)
    (opinions,) = learned._learned.values()
    assert len(opinions._users) <= 256
    assert sum(weight for weight, _ in opinions._users.values()) / opinions._scale <= MEMORY


opinions = st.tuples(st.floats(0, 1), st.floats(0, 1), st.none() | st.floats(0, 1), st.sampled_from("abc"))


@given(given_scores=st.lists(opinions, max_size=120), configured=st.floats(0, 1))
def test_a_skill_stays_between_zero_and_one(
    given_scores: list[tuple[float, float, float | None, str]], configured: float
) -> None:
    learned = LearnedSkills()
    for score, share, replaces, user in given_scores:
        learned.observe("m", user=user, tasks={"code": share}, score=score, replaces=replaces)
        assert -1e-9 <= learned.skill(model(code=configured), "code") <= 1 + 1e-9
        assert learned.opinions("m", "code") <= 3 * MOST_OF_ONE + 1e-6
