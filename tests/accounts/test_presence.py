"""Who is served, and what ends it, with a directory of a few lines."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from citadel_edge.accounts import presence as module
from citadel_edge.accounts.news import News, Subject
from citadel_edge.accounts.presence import Presence, Reason, reason_of
from citadel_edge.accounts.principal import Principal, Role
from citadel_edge.errors import Code, RequestError
from citadel_edge.telemetry.clock import Clock

ADA = Principal(organisation_id="org_1", user_id="usr_1", key_id="key_1", name="ada", role=Role.OPERATOR, tier="free")
CHANGED = News(Subject.KEY, ADA.key_id)


class Holders:
    """What a directory would answer, one after the other; the last for ever."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = 0

    async def holder(self, _):
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, RequestError):
            raise answer
        return answer


@asynccontextmanager
async def serving(*answers, principal=ADA):
    """A presence that looks again, and a request that is served until it is ended; its task answers why."""
    presence, holders, served = Presence(Clock()), Holders(*answers), asyncio.Event()

    async def serve():
        try:
            with presence.of(principal):
                served.set()
                await asyncio.sleep(30)
        except asyncio.CancelledError as error:
            return reason_of(error)

    async with asyncio.TaskGroup() as group:
        worker = group.create_task(presence.run(holders.holder))
        request = group.create_task(serve())
        await served.wait()
        try:
            yield presence, holders, request
        finally:
            worker.cancel()
            request.cancel()


def expiring(in_s):
    return replace(ADA, expires_unix_s=Clock().unix_s() + in_s)


async def test_a_key_that_is_to_end_sooner_ends_its_requests_then():
    async with serving(expiring(0.2), principal=expiring(60)) as (presence, _, request):
        presence.heed(CHANGED)
        done, _ = await asyncio.wait({request}, timeout=0.1)
        assert not done
        assert await asyncio.wait_for(request, 2) is Reason.REVOKED


async def test_a_key_that_is_to_end_later_or_never_ends_nothing():
    for later in (expiring(60), ADA):
        async with serving(later, principal=expiring(0.2)) as (presence, holders, request):
            presence.heed(CHANGED)
            done, _ = await asyncio.wait({request}, timeout=0.4)
            assert (done, holders.asked) == (set(), 1)


@pytest.mark.parametrize(
    "answer",
    [
        replace(ADA, role=Role.USER),
        replace(ADA, organisation_id="org_2"),
        replace(ADA, user_id="usr_2"),
        RequestError(Code.INVALID_API_KEY, "revoked"),
        RequestError(Code.SUSPENDED, "suspended"),
    ],
    ids=str,
)
async def test_rights_that_are_no_more_end_what_was_begun_with_them(answer):
    for news in (None, CHANGED, News(Subject.USER, ADA.user_id)):
        async with serving(answer) as (presence, _, request):
            presence.heed(news)
            assert await asyncio.wait_for(request, 2) is Reason.REVOKED


async def test_while_the_accounts_are_away_it_asks_again(monkeypatch):
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    away = RequestError(Code.ACCOUNTS_UNAVAILABLE, "away")
    async with serving(away, away, replace(ADA, role=Role.USER)) as (presence, holders, request):
        presence.heed(CHANGED)
        assert await asyncio.wait_for(request, 2) is Reason.REVOKED
        assert holders.asked == 3


async def test_news_of_others_and_of_what_only_the_next_request_heeds_are_not_asked_about():
    async with serving(ADA) as (presence, holders, request):
        for news in (
            News(Subject.KEY, "key_2"),
            News(Subject.USER, "usr_2", ended=True),
            News(Subject.TIER, ADA.tier),
            News(Subject.ORGANISATION, ADA.organisation_id),
        ):
            presence.heed(news)
        await asyncio.sleep(0.05)
        assert (holders.asked, request.done()) == (0, False)


async def test_an_end_that_is_heard_of_twice_does_not_break_into_last_words():
    presence, told = Presence(Clock()), []

    async def serve():
        with presence.of(ADA):
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError as error:
                asyncio.current_task().uncancel()
                await asyncio.sleep(0.05)
                told.append(reason_of(error))

    async with asyncio.TaskGroup() as group:
        group.create_task(serve())
        await asyncio.sleep(0)
        for _ in range(3):
            presence.heed(News(Subject.KEY, ADA.key_id, ended=True))
            await asyncio.sleep(0.01)
    assert told == [Reason.REVOKED]
    assert len(presence) == 0
