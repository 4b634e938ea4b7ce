"""What failures mean."""

import pytest

from citadel_edge.config.shape import Engine
from citadel_edge.errors import Code, UpstreamError, UpstreamFault
from citadel_edge.fleet.engines.known import dialect_of
from citadel_edge.fleet.table import Verdict
from citadel_edge.routing.candidates import Candidate, Excluded, Exclusion
from citadel_edge.routing.retry import Failure, Wish, exhausted, judge, no_replica, told

VLLM = dialect_of(Engine.VLLM)


def error(fault: UpstreamFault, status: int | None = None, retry_after_s: float | None = None) -> UpstreamError:
    return UpstreamError(fault, "words", status=status, retry_after_s=retry_after_s)


@pytest.mark.parametrize(
    "fault", sorted(set(UpstreamFault) - {UpstreamFault.BUSY, UpstreamFault.LOST, UpstreamFault.TOTAL_TIMEOUT})
)
def test_a_broken_replica_is_charged_and_another_is_asked(fault: UpstreamFault) -> None:
    judgement = judge(error(fault, 500 if fault is UpstreamFault.STATUS else None), VLLM)
    assert (judgement.wish, judgement.verdict) == (Wish.ELSEWHERE, Verdict.FAULT)
    assert judgement.suspect == (fault is UpstreamFault.REFUSED)
    assert judgement.same_again == (fault is UpstreamFault.RESET)


@pytest.mark.parametrize(("asked", "cooldown"), [(None, 1.0), (0.0, 0.1), (7.5, 7.5), (86400.0, 60.0)])
def test_busy_is_a_cooldown_and_never_a_fault(asked: float | None, cooldown: float) -> None:
    judgement = judge(error(UpstreamFault.BUSY, 429, asked), VLLM)
    assert (judgement.wish, judgement.verdict, judgement.cooldown_s) == (Wish.ELSEWHERE, Verdict.BUSY, cooldown)


@pytest.mark.parametrize("status", [400, 409, 413, 415, 422, 424])
def test_a_refused_request_is_nobodys_fault_and_not_repeated(status: int) -> None:
    judgement = judge(error(UpstreamFault.STATUS, status), VLLM)
    assert (judgement.wish, judgement.verdict, judgement.refusal) == (Wish.REFUSED, Verdict.NONE, True)


def test_tgis_424_is_a_failure_of_its_own() -> None:
    judgement = judge(error(UpstreamFault.STATUS, 424), dialect_of(Engine.TGI))
    assert (judgement.wish, judgement.verdict) == (Wish.ELSEWHERE, Verdict.FAULT)


@pytest.mark.parametrize("status", [404, 405, 501])
def test_what_one_engine_lacks_another_may_have(status: int) -> None:
    judgement = judge(error(UpstreamFault.STATUS, status), VLLM)
    assert (judgement.wish, judgement.verdict, judgement.refusal) == (Wish.ELSEWHERE, Verdict.NONE, True)


@pytest.mark.parametrize("status", [302, 401, 403, 408, 500, 502, 504, 599])
def test_statuses_that_the_client_did_not_cause_are_the_replicas_fault(status: int) -> None:
    judgement = judge(error(UpstreamFault.STATUS, status), VLLM)
    assert (judgement.wish, judgement.verdict, judgement.refusal) == (Wish.ELSEWHERE, Verdict.FAULT, False)


def test_the_end_of_the_requests_time_is_nobodys_fault_and_the_end() -> None:
    judgement = judge(error(UpstreamFault.TOTAL_TIMEOUT), VLLM)
    assert (judgement.wish, judgement.verdict) == (Wish.STOP, Verdict.NONE)


def test_a_call_lost_with_its_replica_is_made_elsewhere_and_charges_nobody_twice() -> None:
    judgement = judge(error(UpstreamFault.LOST), VLLM)
    assert (judgement.wish, judgement.verdict) == (Wish.ELSEWHERE, Verdict.NONE)


def test_all_full_is_no_capacity_with_the_shortest_wait() -> None:
    failures = [Failure("a", error(UpstreamFault.BUSY, 429, 9.0)), Failure("b", error(UpstreamFault.BUSY, 503, 4.0))]
    answer = exhausted("m", failures)
    assert (answer.code, answer.retry_after_s) == (Code.NO_CAPACITY, 4.0)
    assert "a: busy 429; b: busy 503" in answer.message


def test_mixed_failures_are_an_upstream_error_with_every_reason() -> None:
    failures = [
        Failure("a", error(UpstreamFault.BUSY, 429, 9.0)),
        Failure("b", error(UpstreamFault.FIRST_TOKEN_TIMEOUT)),
    ]
    answer = exhausted("m", failures)
    assert (answer.code, answer.retry_after_s) == (Code.UPSTREAM_ERROR, 9.0)
    assert "first_token_timeout" in answer.message
    assert exhausted("m", failures[1:]).retry_after_s is None


def test_a_refused_key_is_told_without_the_key_being_the_clients() -> None:
    assert "key configured for it" in told(error(UpstreamFault.STATUS, 401))


def test_no_replica_says_why_and_when() -> None:
    candidates = (
        Candidate("a", "m", 1, 0, Excluded(Exclusion.UNHEALTHY, "it is not healthy: refused")),
        Candidate("b", "m", 1, 0, Excluded(Exclusion.BREAKER, "its breaker is open", 4.5)),
    )
    answer = no_replica("m", candidates)
    assert (answer.code, answer.retry_after_s) == (Code.NO_CAPACITY, 4.5)
    assert "a: it is not healthy" in answer.message
    assert no_replica("m", ()).retry_after_s == 1.0
