"""Connections of `citadel.v1` whose caller's rights change while they are open."""

import asyncio

from citadel_edge.accounts.principal import Role
from citadel_edge.simulator.options import SimulatorOptions
from citadel_edge.simulator.timing import Timing
from people import person, within
from websocket_client import talking

SLOW = SimulatorOptions(timing=Timing(decode_ms=20), shortest=400, longest=400)
OVERLAP_S = 1.0
SOON_S = OVERLAP_S + 5.0


async def test_a_rotated_key_ends_its_connections_and_its_chats_when_its_overlap_is_over(edge_with):
    async with edge_with(options=(SLOW,)) as served:
        ada = await person(served, "ada")
        async with (
            talking(served, ada.headers) as idle,
            talking(served, ada.headers) as busy,
            asyncio.TaskGroup() as group,
        ):
            assert (await busy.chat(served.chat(max_tokens=400)))["type"] == "ack"
            await ada.rotates(OVERLAP_S)
            ends = [group.create_task(within(talk.closed(), OVERLAP_S / 2, SOON_S)) for talk in (idle, busy)]
        assert [end.result().code for end in ends] == [4403, 4403]
        async with asyncio.timeout(5):
            while not served.simulators[0].stats.cancelled:
                await asyncio.sleep(0.01)


async def test_each_operation_is_judged_by_what_its_caller_may_then(edge_with):
    async with edge_with() as served:
        eve = await person(served, "eve", tier="free")
        async with talking(served, served.as_admin()) as talk:
            stream = (await talk.chat(served.chat()))["stream"]
            await talk.rest("chat-1")
        async with talking(served, eve.headers) as talk:
            assert (await talk.ask({"id": 1, "type": "subscribe", "topics": ["usage"]}))["code"] == "forbidden"
            assert (await talk.ask({"id": 2, "type": "resume", "stream": stream}))["code"] == "not_found"
            await eve.becomes(role=Role.OPERATOR.value, tier="unlimited")
            assert (await talk.ask({"id": 2, "type": "resume", "stream": stream}))["type"] == "ack"
            assert (await talk.rest(2))[-1]["outcome"] == "done"
            await talk.chat(served.chat())
            await talk.rest("chat-1")
            rows = await served.rows("SELECT tier FROM usage_events WHERE user_id = $1", eve.user_id)
            assert [row["tier"] for row in rows] == ["unlimited"]
            assert (await talk.ask({"id": 3, "type": "subscribe", "topics": ["usage"]}))["type"] == "ack"
            await served.edge.postgres.execute("UPDATE users SET role = 'user' WHERE id = $1", eve.user_id)
            assert (await asyncio.wait_for(talk.closed(), 5)).code == 4403
