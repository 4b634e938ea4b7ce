"""When writes of a slot begin, and when what waits for them is late."""

import asyncio
import time

import pytest
import structlog

from citadel_edge.streams.feed import Feed
from citadel_edge.streams.lanes import MOST_PACE_S, MOST_TOGETHER, PACE_S, Lanes
from citadel_edge.streams.live import Live
from citadel_edge.streams.page import Page
from citadel_edge.telemetry.clock import Clock
from logs import FINISH, OWNER, origin

pytestmark = pytest.mark.usefixtures("full_speed")

STREAM = "str_3" + "0" * 26


def _pages(count):
    clock = Clock()
    return [
        Page(Live(STREAM, Feed("e"), None, origin=origin(), owner=OWNER, policy=FINISH, clock=clock), registered=True)
        for _ in range(count)
    ]


async def _carried(pages, write_s, late_s):
    """When each batch's write began and how many it held, and when each page was called late, since they said it."""
    began, late = [], {}
    start_s = time.monotonic()

    async def write(batch):
        began.append((time.monotonic() - start_s, len(batch)))
        await asyncio.sleep(write_s)
        return []

    async with asyncio.TaskGroup() as group:
        lanes = Lanes(
            write,
            lambda page: late.setdefault(page, time.monotonic() - start_s),
            late_s=late_s,
            group=group,
            log=structlog.get_logger(),
        )
        for page in pages:
            lanes.touch(page)
    assert not lanes.late
    return began, late


async def test_those_that_wait_behind_a_full_write_are_late_by_their_own_time():
    pages = _pages(20 * MOST_TOGETHER)
    began, late = await _carried(pages, write_s=0.015, late_s=0.05)
    assert [count for _, count in began] == [MOST_TOGETHER] * 20
    behind = [late[page] for page in pages[6 * MOST_TOGETHER :]]
    assert 0.05 <= min(behind) <= max(behind) < 0.25  # each write takes 0.015 s, and the last ends after 0.3 s
    assert pages[0] not in late


async def test_many_short_writes_do_not_hide_that_the_last_wait_for_long():
    pages = _pages(40 * MOST_TOGETHER)
    _, late = await _carried(pages, write_s=0.003, late_s=0.05)
    assert 0.05 <= late[pages[-1]] < 0.12


async def test_full_writes_follow_each_other_at_once():
    took = []
    for _ in range(3):  # the quickest: the machine may be busy
        began, late = await _carried(_pages(50 * MOST_TOGETHER), write_s=0, late_s=5.0)
        assert len(began) == 50
        assert not late
        took.append(began[-1][0] - began[0][0])
    assert min(took) < 49 * MOST_PACE_S / 2


async def test_a_few_that_come_one_after_another_are_written_apart_by_a_pause():
    (page,) = _pages(1)
    began, start_s = [], time.monotonic()

    async def write(_batch):
        began.append(time.monotonic())
        return [page] if len(began) < 5 else []

    async with asyncio.TaskGroup() as group:
        Lanes(write, lambda _page: None, late_s=5.0, group=group, log=structlog.get_logger()).touch(page)
    assert len(began) == 5
    assert began[-1] - start_s >= 4 * PACE_S
