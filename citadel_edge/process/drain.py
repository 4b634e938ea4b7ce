"""How the process lets go: no new work, answers under way finish, what outlasts its share is ended in words.

A stream whose log is whole is not ended: another process goes on with it, or this one's next life does.

The grace bounds everything from the signal to the exit, so the doors get a part of it and the databases the rest.
"""

import asyncio
from collections.abc import Sequence

from citadel_edge.config.shape import ListenerName
from citadel_edge.edge import Edge
from citadel_edge.health.verdict import ListenerState
from citadel_edge.listeners.common.door import Door

DOORS_SHARE = 0.6
HAND_ON_SHARE = 0.1
LAST_WORDS_SHARE = 0.1
CLOSE_SHARE = 0.05  # which aiohttp may spend twice
LEDGER_SHARE = 0.1
SETTLE_S = 0.1


async def drain(edge: Edge, doors: Sequence[Door], grace_s: float) -> None:
    """Close the doors within their share of the grace, then carry what usage can be carried."""
    log = edge.logs.logger()
    log.info("draining", grace_s=grace_s)
    edge.streams.take_no_more()
    for door in doors:
        door.stop_accepting()
    await asyncio.sleep(min(SETTLE_S, grace_s * CLOSE_SHARE))  # a connection just accepted still has its say
    for name in ListenerName:
        edge.set_state(name, ListenerState.DRAINING)
    edge.draining.set()
    edge.hub.close()
    finished = await _idle(edge, doors, grace_s * DOORS_SHARE)
    if not finished:
        await edge.production.hand_on(grace_s * HAND_ON_SHARE)
        edge.presence.end_all()
        await _idle(edge, doors, grace_s * LAST_WORDS_SHARE)
    await asyncio.gather(*(door.close(grace_s * CLOSE_SHARE) for door in doors))
    await edge.ledger.flush(grace_s * LEDGER_SHARE)
    log.info("drained", all_answers_finished=finished)


async def _idle(edge: Edge, doors: Sequence[Door], within_s: float) -> bool:
    """Whether all answers are finished, those that nobody reads included."""
    try:
        async with asyncio.timeout(within_s):
            await asyncio.gather(edge.production.idle(), *(door.wait_idle() for door in doors))
    except TimeoutError:
        return False
    return True
