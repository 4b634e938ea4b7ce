"""One operation's budget: what is left of it, and what it shows."""

from math import inf

from citadel_edge.graph.context import Spent, Tokens


def test_what_is_claimed_is_held_until_its_end_is_known():
    spent = Spent(price=10, limit=100)
    claim = spent.claim(60)
    assert (spent.left, spent.requested, spent.actual) == (30, 70, 70)
    claim.settle(5.5, Tokens(3, 4, 0.25))
    assert (spent.requested, spent.actual) == (70, 15.5)
    assert spent.shown() == {
        "requested": 70,
        "actual": 15.5,
        "limit": 100,
        "tokens": {"requested": 60, "actual": 5.5, "tokensIn": 3, "tokensOut": 4, "usd": 0.25},
    }


def test_what_one_claim_leaves_is_no_other_s_and_what_it_overdraws_is_gone():
    spent = Spent(price=10, limit=100)
    spent.claim(60).settle(5, Tokens())
    assert spent.left == 30
    spent.claim(10).settle(100, Tokens())
    assert (spent.left, spent.actual) == (0, 115)


def test_a_query_comes_to_what_it_answered_and_no_more_than_was_asked_for():
    spent = Spent(price=10)
    for answered, actual in ((4, 4), (11, 10), (-1, 0), (0, 0)):
        spent.answered = answered
        assert (spent.requested, spent.actual) == (10, actual)


def test_only_a_claim_s_first_end_counts():
    spent = Spent()
    claim = spent.claim(8)
    claim.release()
    claim.settle(8, Tokens(1, 1, 1.0))
    assert (spent.left, spent.shown()) == (inf, {"requested": 0, "actual": 0, "limit": None})
    claim = spent.claim(8)
    claim.settle(2, Tokens(1, 0, 0.0))
    claim.settle(2, Tokens(1, 0, 0.0))
    claim.release()
    assert (spent.requested, spent.actual, spent.tokens) == (8, 2, Tokens(1, 0, 0.0))
