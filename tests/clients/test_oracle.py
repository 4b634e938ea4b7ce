"""npm's `eventsource-parser`, fed the same bytes, hears what our decoder hears."""

import base64
import json

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from wire.sse_model import bytewise, cut, cuts, heard, streams

CASES = 250


@pytest.fixture
def cases():
    """Streams of every sort in pieces of every size, the same ones in each run."""
    found = []

    @settings(max_examples=CASES, derandomize=True, database=None, deadline=None, phases=[Phase.generate])
    @given(stream=streams, places=cuts, apart=st.booleans())
    def note(stream, places, apart):
        found.append((stream, bytewise(stream) if apart else cut(stream, places)))

    note()
    return found


async def test_it_hears_the_same_events_at_every_split(node, cases):
    async with node.running("parser_oracle.mjs") as judge:
        for stream, pieces in cases:
            await judge.say(json.dumps([base64.b64encode(piece).decode() for piece in pieces]))
            ours = [(each.data.decode("utf-8", "replace"), each.event, each.id) for each in heard(pieces)[0]]
            assert ours == [tuple(each) for each in await judge.hear()], stream
