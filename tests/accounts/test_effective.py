"""The limits that are shown are those that a request is held against."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.accounts.effective import Source, effective
from citadel_edge.accounts.entitlement import Entitlement, LimitSheet
from citadel_edge.config.limits import LIMIT_NAMES
from citadel_edge.limits.plan import Who, dimensions
from citadel_edge.limits.standings import scope_of
from citadel_edge.limits.values import KINDS, NANO, LimitName, Unit

NOW_MS = int(datetime(2026, 11, 23, tzinfo=UTC).timestamp() * 1000)
MODELS, ENDPOINTS = ("a", "b"), ("/v1/x", "/v1/y")
VALUES = st.dictionaries(st.sampled_from(LIMIT_NAMES), st.none() | st.integers(0, 1000))


def sheets():
    return st.builds(
        LimitSheet,
        values=VALUES,
        by_model=st.dictionaries(st.sampled_from(MODELS), VALUES),
        by_endpoint=st.dictionaries(st.sampled_from(ENDPOINTS), VALUES),
    )


ENTITLEMENTS = st.builds(Entitlement, tier=sheets(), overrides=sheets(), organisation=sheets())


def scope(limit):
    alone = f" model {limit.model}" if limit.model else f" endpoint {limit.endpoint}" if limit.endpoint else ""
    return f"{limit.side}{alone}"


@given(ENTITLEMENTS)
def test_what_is_shown_is_what_counts(entitled):
    shown = {(limit.name, scope(limit)): limit.limit for limit in effective(entitled) if limit.limit is not None}
    counts = {}
    for model in ("", *MODELS):
        for endpoint in ("", *ENDPOINTS):
            who = Who(organisation_id="org", user_id="usr", entitlement=entitled, model=model, endpoint=endpoint)
            for one in dimensions(who, NOW_MS):
                in_dollars = KINDS[LimitName(one.name)][1] is Unit.NANO_USD
                counts[one.name.value, scope_of(one.subject)] = one.limit / NANO if in_dollars else one.limit
    assert shown == counts


@given(ENTITLEMENTS)
def test_each_is_shown_once_and_with_who_set_it(entitled):
    found = effective(entitled)
    assert len({(limit.name, scope(limit)) for limit in found}) == len(found)
    assert {limit.name for limit in found if scope(limit) == "user"} == set(LIMIT_NAMES)
    for limit in found:
        over = entitled.overrides
        places = (over.values, over.by_model.get(limit.model, {}), over.by_endpoint.get(limit.endpoint, {}))
        said = places[1 if limit.model else 2 if limit.endpoint else 0]
        if limit.side == "organisation":
            assert limit.source is Source.ORGANISATION
        else:
            assert (limit.source is Source.OVERRIDE) == (limit.name in said)
