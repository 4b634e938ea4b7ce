"""What is said to whoever is denied: which limit of whom, how large, what to do, when."""

import pytest

from citadel_edge.errors import Code
from citadel_edge.limits.claims import Decision, Reason
from citadel_edge.limits.refusals import code_of, refusal, whose
from citadel_edge.limits.values import LimitName, Standing


def denial(reason, name, *, limit, remaining=0, retry_after_s=None, scope="user", degraded=False):
    standing = Standing(
        name=name,
        scope=scope,
        limit=limit,
        remaining=remaining,
        reset_s=60,
        denied=True,
        retry_after_s=retry_after_s,
    )
    return Decision(
        allowed=False,
        standings=(standing,),
        denied=standing,
        reason=reason,
        retry_after_s=retry_after_s,
        degraded=degraded,
    )


RATE = denial(Reason.RATE, LimitName.REQUESTS_PER_MINUTE, limit=60, retry_after_s=11.2)
DAY = denial(
    Reason.QUOTA, LimitName.TOKENS_PER_DAY, limit=200_000, remaining=13, retry_after_s=7200, scope="organisation"
)
USD = denial(Reason.QUOTA, LimitName.USD_PER_MONTH, limit=5.0, remaining=0.25, scope="user model llama-3")
LARGE = denial(
    Reason.TOO_LARGE, LimitName.TOKENS_PER_MINUTE, limit=20_000, remaining=20_000, scope="organisation endpoint /v1/x"
)
AWAY = denial(Reason.AWAY, LimitName.TOKENS_PER_MONTH, limit=100, retry_after_s=5, degraded=True)


@pytest.mark.parametrize(
    ("decision", "code", "status"),
    [
        (RATE, "rate_limit_exceeded", 429),
        (DAY, "insufficient_quota", 429),
        (LARGE, "request_too_large", 400),
        (AWAY, "rate_limit_exceeded", 429),
    ],
)
def test_every_reason_has_its_code(decision, code, status):
    assert (code_of(decision).text, code_of(decision).status) == (code, status)
    assert refusal(decision).code is code_of(decision)


def test_what_was_granted_is_no_refusal():
    with pytest.raises(KeyError):
        refusal(Decision(allowed=True))


@pytest.mark.parametrize(
    ("decision", "message"),
    [
        (RATE, "Rate limit reached: the limit of 60 requests per minute for this user. Try again in 11.2s."),
        (
            DAY,
            (
                "Quota used up: the limit of 200,000 tokens per day for this organisation has 13 left, this request "
                "needs more. It begins anew in 2h0m0s; ask your administrator if you need more before."
            ),
        ),
        (
            USD,
            (
                "Quota used up: the limit of 5.00 US dollars per month for this user with the model llama-3 has 0.25 "
                "left, this request needs more. Ask your administrator for more."
            ),
        ),
        (
            LARGE,
            (
                "This request needs more than the limit of 20,000 tokens per minute for this organisation at the "
                "endpoint /v1/x ever grants. Shorten its input or ask for fewer tokens."
            ),
        ),
        (
            AWAY,
            (
                "Nothing may be taken of the limit of 100 tokens per month for this user while it cannot be checked. "
                "Try again in 5s."
            ),
        ),
        (
            Decision(allowed=False, reason=Reason.AWAY, retry_after_s=5),
            "Limits cannot be checked at the moment. Try again in 5s.",
        ),
        (
            denial(Reason.RATE, LimitName.CONCURRENT, limit=0),
            "Rate limit reached: the limit of 0 requests at a time for this user. Ask your administrator.",
        ),
    ],
)
def test_the_message_says_which_limit_of_whom_and_what_to_do(decision, message):
    assert refusal(decision).message == message


def test_the_answer_carries_the_headers_and_the_time():
    refused = refusal(RATE)
    assert refused.retry_after_s == 11.2
    assert refused.headers["Retry-After"] == "12"
    assert refused.headers["RateLimit"] == '"rpm";r=0;t=12'
    assert "X-Citadel-Limits" not in refused.headers
    assert refusal(AWAY).headers["X-Citadel-Limits"] == "degraded"


def test_what_no_wait_helps_names_no_time():
    refused = refusal(LARGE, param="tokens")
    assert (refused.code, refused.param, refused.retry_after_s) == (Code.REQUEST_TOO_LARGE, "tokens", None)
    assert "Retry-After" not in refused.headers


@pytest.mark.parametrize(
    ("scope", "words"),
    [
        ("user", "for this user"),
        ("organisation", "for this organisation"),
        ("user model a model", "for this user with the model a model"),
        ("organisation endpoint /v1/a:b", "for this organisation at the endpoint /v1/a:b"),
    ],
)
def test_scopes_read_as_words(scope, words):
    assert whose(scope) == words
