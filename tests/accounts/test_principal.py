import pytest

from citadel_edge.accounts.principal import Principal, Role


@pytest.mark.parametrize(
    ("role", "needed", "may"),
    [
        (Role.ADMIN, Role.USER, True),
        (Role.OPERATOR, Role.SERVICE, True),
        (Role.SERVICE, Role.OPERATOR, False),
        (Role.USER, Role.USER, True),
        (Role.USER, Role.ADMIN, False),
    ],
)
def test_a_role_covers_the_weaker_ones(role, needed, may):
    assert role.may(needed) is may


@pytest.mark.parametrize(("models", "may"), [(("*",), True), (("a", "b"), True), (("b",), False), ((), False)])
def test_a_tier_names_its_models(models, may):
    principal = Principal(
        organisation_id="o", user_id="u", key_id="k", name="n", role=Role.USER, tier="t", models=models
    )
    assert principal.may_use("a") is may
